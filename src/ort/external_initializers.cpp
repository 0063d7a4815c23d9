#include "ort/external_initializers.hpp"

#include <algorithm>
#include <iterator>

namespace kvcache::ort {
namespace {

#if ORT_API_VERSION >= 18
using Functions = OrtApi;
#else
/// Headers may be of 1.17, the library may not: ONNX Runtime only ever adds functions at the end of
/// its table, and these are the first that 1.18 added.
struct Functions : OrtApi {
  void* SessionOptionsAppendExecutionProvider_VitisAI;
  void* KernelContext_GetScratchBuffer;
  void* KernelInfoGetAllocator;
  OrtStatusPtr(ORT_API_CALL* AddExternalInitializersFromFilesInMemory)(
      OrtSessionOptions*, const ORTCHAR_T* const*, char* const*, const std::size_t*, std::size_t);
};
#endif

constexpr std::uint32_t kVersion = std::max<std::uint32_t>(ORT_API_VERSION, 18);

}  // namespace

void add_external_initializers(Ort::SessionOptions& options, const std::vector<std::string>& names,
                               const std::vector<const std::byte*>& bytes,
                               const std::vector<std::size_t>& sizes) {
  std::vector<const ORTCHAR_T*> files;
  std::ranges::transform(names, std::back_inserter(files),
                         [](const std::string& name) { return name.c_str(); });
  std::vector<char*> read;  // ONNX Runtime's function wants them so, and reads them only
  std::ranges::transform(bytes, std::back_inserter(read), [](const std::byte* at) {
    return reinterpret_cast<char*>(const_cast<std::byte*>(at));
  });
  const auto* const api = static_cast<const Functions*>(OrtGetApiBase()->GetApi(kVersion));
  Ort::ThrowOnError(api->AddExternalInitializersFromFilesInMemory(
      options, files.data(), read.data(), sizes.data(), files.size()));
}

}  // namespace kvcache::ort
