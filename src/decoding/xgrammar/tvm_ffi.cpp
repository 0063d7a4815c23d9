#include "decoding/xgrammar/tvm_ffi.hpp"

#include <dlfcn.h>

#include <bit>
#include <mutex>
#include <utility>
#include <vector>

#include "base/throw_error.hpp"
#include "decoding/xgrammar/find.hpp"

namespace kvcache::decoding::xgrammar {
namespace {

// TVMFFITypeIndex
constexpr std::int32_t kInt = 1;
constexpr std::int32_t kBool = 2;
constexpr std::int32_t kTensorPointer = 7;
constexpr std::int32_t kFirstObject = 64;
constexpr std::int32_t kFunctionObject = 68;

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
  std::uint32_t patch;
};
constexpr Version kVersion{0, 1, 16};  // what the package 0.1.15.post2 says of itself

/// The header of every object (TVMFFIObject), behind which its contents are.
struct ObjectHeader {
  std::uint64_t references;
  std::int32_t type;
  std::uint32_t padding;
  void (*deleter)(void*, int);
};

/// The beginning of an error's contents (TVMFFIErrorCell).
struct ErrorCell {
  ObjectHeader header;
  ByteArray kind;
  ByteArray message;
};

struct MethodInfo {
  ByteArray name;
  ByteArray doc;
  ByteArray metadata;
  std::int64_t flags;
  Any method;
};

struct TypeInfo {
  std::int32_t type;
  std::int32_t depth;
  ByteArray key;
  const TypeInfo* const* ancestors;
  std::uint64_t key_hash;
  std::int32_t num_fields;
  std::int32_t num_methods;
  const void* fields;
  const MethodInfo* methods;
  const void* metadata;
};

/// Its functions. All that fail return other than 0, and what is wrong is told by move_error.
struct Interface {
  void (*version)(Version*) = nullptr;
  int (*drop)(void*) = nullptr;
  int (*type_of_key)(const ByteArray*, std::int32_t*) = nullptr;
  const TypeInfo* (*type_info)(std::int32_t) = nullptr;
  int (*global_function)(const ByteArray*, void**) = nullptr;
  int (*call)(void*, const Any*, std::int32_t, Any*) = nullptr;
  int (*string)(const ByteArray*, Any*) = nullptr;
  int (*bytes)(const ByteArray*, Any*) = nullptr;
  void (*move_error)(void**) = nullptr;
  void* make_array = nullptr;
};

/// Set once, before any other call.
Interface& interface() {
  static Interface functions;
  return functions;
}

void* pointer_in(const Any& any) noexcept { return std::bit_cast<void*>(any.bits); }

ByteArray view_of(std::string_view text) noexcept { return {text.data(), text.size()}; }

std::string why_dl_failed() {
  const char* const why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): glibc's is of the thread
  return why != nullptr ? why : "no reason was given";
}

/// Never unloaded: what it registers points into it.
void* open_library(const std::filesystem::path& path) {
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw_error(ErrorCode::grammar_unavailable, "{} cannot be loaded: {}; {}", path.string(),
                why_dl_failed(), how_to_install());
  }
  return library;
}

template <typename Function>
void find_symbol(void* library, const char* name, Function*& function) {
  function = std::bit_cast<Function*>(::dlsym(library, name));
  if (function == nullptr) {
    throw_error(ErrorCode::grammar_unavailable, "tvm_ffi has no function {}; {}", name,
                how_to_install());
  }
}

void check_version(const Interface& found) {
  Version version{};
  found.version(&version);
  if (version.major != kVersion.major || version.minor != kVersion.minor ||
      version.patch != kVersion.patch) {
    throw_error(ErrorCode::grammar_unavailable,
                "the library of tvm_ffi is of version {}.{}.{}, must be {}.{}.{}; {}",
                version.major, version.minor, version.patch, kVersion.major, kVersion.minor,
                kVersion.patch, how_to_install());
  }
}

[[noreturn]] void throw_call_failed() {
  void* error = nullptr;
  interface().move_error(&error);
  std::string message = "no reason was given";
  if (error != nullptr) {
    const ByteArray& text = static_cast<const ErrorCell*>(error)->message;
    message.assign(text.data, text.size);
    interface().drop(error);
  }
  throw CallFailed{std::move(message)};
}

Value made(int status, const Any& any) {
  if (status != 0) {
    throw_error(ErrorCode::run_failed, "tvm_ffi made no value of an argument for xgrammar");
  }
  return Value(any);
}

void load_once(const std::filesystem::path& directory) {
  Interface found;
  void* const library = open_library(directory / "tvm_ffi" / "lib" / "libtvm_ffi.so");
  find_symbol(library, "TVMFFIGetVersion", found.version);
  check_version(found);
  find_symbol(library, "TVMFFIObjectDecRef", found.drop);
  find_symbol(library, "TVMFFITypeKeyToIndex", found.type_of_key);
  find_symbol(library, "TVMFFIGetTypeInfo", found.type_info);
  find_symbol(library, "TVMFFIFunctionGetGlobal", found.global_function);
  find_symbol(library, "TVMFFIFunctionCall", found.call);
  find_symbol(library, "TVMFFIStringFromByteArray", found.string);
  find_symbol(library, "TVMFFIBytesFromByteArray", found.bytes);
  find_symbol(library, "TVMFFIErrorMoveFromRaised", found.move_error);
  open_library(directory / "xgrammar" / "libxgrammar_bindings.so");
  const ByteArray array = view_of("ffi.Array");
  if (found.global_function(&array, &found.make_array) != 0 || found.make_array == nullptr) {
    throw_error(ErrorCode::grammar_unavailable, "tvm_ffi makes no arrays; {}", how_to_install());
  }
  interface() = found;
}

}  // namespace

Value::Value(Value&& other) noexcept : any_(std::exchange(other.any_, {})) {}

Value& Value::operator=(Value&& other) noexcept {
  std::swap(any_, other.any_);
  return *this;
}

Value::~Value() {
  if (any_.type >= kFirstObject) {
    interface().drop(pointer_in(any_));
  }
}

Any of_bool(bool value) noexcept { return {.type = kBool, .bits = value ? 1U : 0U}; }

Any of_int(std::int64_t value) noexcept {
  return {.type = kInt, .bits = static_cast<std::uint64_t>(value)};
}

Any of_tensor(Tensor& tensor) noexcept {
  return {.type = kTensorPointer, .bits = std::bit_cast<std::uint64_t>(&tensor)};
}

Value string_of(std::string_view text) {
  const ByteArray view = view_of(text);
  Any any;
  return made(interface().string(&view, &any), any);
}

Value bytes_of(std::string_view bytes) {
  const ByteArray view = view_of(bytes);
  Any any;
  return made(interface().bytes(&view, &any), any);
}

Value array_of(std::span<const Any> elements) {
  Any any;
  return made(interface().call(interface().make_array, elements.data(),
                               static_cast<std::int32_t>(elements.size()), &any),
              any);
}

Function::Function(std::string_view type, std::string_view name) {
  const std::string key = "xgrammar.tvm_ffi_binding." + std::string(type);
  const ByteArray view = view_of(key);
  std::int32_t index = 0;
  if (interface().type_of_key(&view, &index) == 0) {
    const TypeInfo* const info = interface().type_info(index);
    for (const MethodInfo& method :
         std::span(info->methods, static_cast<std::size_t>(info->num_methods))) {
      if (std::string_view(method.name.data, method.name.size) == name &&
          method.method.type == kFunctionObject) {
        handle_ = pointer_in(method.method);
      }
    }
  }
  if (handle_ == nullptr) {
    throw_error(ErrorCode::grammar_unavailable, "xgrammar has no {}.{}; {}", type, name,
                how_to_install());
  }
}

Value Function::operator()(std::span<const Any> arguments) const {
  Any any;
  if (interface().call(handle_, arguments.data(), static_cast<std::int32_t>(arguments.size()),
                       &any) != 0) {
    throw_call_failed();
  }
  return Value(any);
}

void load(const std::filesystem::path& directory) {
  static std::mutex mutex;
  static std::filesystem::path loaded;
  const std::lock_guard lock(mutex);
  if (loaded.empty()) {
    load_once(directory);
    loaded = directory;
  } else if (loaded != directory) {
    throw_error(ErrorCode::grammar_unavailable,
                "xgrammar of {} was asked for, and this process has loaded that of {}; it can load "
                "one only",
                directory.string(), loaded.string());
  }
}

}  // namespace kvcache::decoding::xgrammar
