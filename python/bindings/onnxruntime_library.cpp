// The one function of ONNX Runtime that is linked, found at run time: in the library that is loaded
// already, or that the environment names.
//
// A package of Python brings the library along as a file without the name that a linker asks for,
// and with symbols of its exact version. What is linked against it would run with no other.

#include <dlfcn.h>
#include <onnxruntime_c_api.h>

#include <cstdint>
#include <cstdlib>

namespace {

const OrtApi* ORT_API_CALL no_api(std::uint32_t) noexcept { return nullptr; }
const char* ORT_API_CALL no_version() noexcept { return ""; }
constexpr OrtApiBase kNotFound{no_api, no_version};

const OrtApiBase* find() noexcept {
  void* library = dlopen("libonnxruntime.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (const char* const file = std::getenv("KVCACHE_ONNXRUNTIME"); library == nullptr && file) {
    library = dlopen(file, RTLD_NOW);
  }
  if (library == nullptr) {
    return &kNotFound;
  }
  using Function = const OrtApiBase*(ORT_API_CALL*)() noexcept;
  const auto function = reinterpret_cast<Function>(dlsym(library, "OrtGetApiBase"));
  return function == nullptr ? &kNotFound : function();
}

}  // namespace

// Static initialisation of the library asks for it, before anything of the program runs. Where
// there is none it gets a base without an API, which whoever loads the library has to ask for.
extern "C" const OrtApiBase* ORT_API_CALL OrtGetApiBase() noexcept {
  static const OrtApiBase* const base = find();
  return base;
}
