// The C interface of apache-tvm-ffi, by which xgrammar is called: what is needed of it.
//
// The layouts and names are those of tvm/ffi/c_api.h of version 0.1.16, which is checked when the
// library is loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace kvcache::decoding::xgrammar {

/// Bytes that somebody else owns (TVMFFIByteArray).
struct ByteArray {
  const char* data;
  std::size_t size;
};

/// An argument or result of a function (TVMFFIAny): a small value, or a pointer.
struct Any {
  std::int32_t type = 0;  // none
  std::uint32_t padding = 0;
  std::uint64_t bits = 0;
};
static_assert(sizeof(Any) == 16);

/// A tensor on the host that somebody else owns (DLTensor of dlpack.h).
struct Tensor {
  void* data;
  std::int32_t device_type = 1;  // CPU
  std::int32_t device_id = 0;
  std::int32_t ndim = 1;
  std::uint8_t type_code = 0;  // signed integers
  std::uint8_t type_bits = 32;
  std::uint16_t type_lanes = 1;
  const std::int64_t* shape;
  const std::int64_t* strides;
  std::uint64_t byte_offset = 0;
};

/// A result that is owned: an object's reference goes with it. Move-only.
class Value {
 public:
  Value() = default;
  explicit Value(Any any) noexcept : any_(any) {}
  Value(Value&& other) noexcept;
  Value& operator=(Value&& other) noexcept;
  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;
  ~Value();

  [[nodiscard]] const Any& any() const noexcept { return any_; }
  [[nodiscard]] bool as_bool() const noexcept { return any_.bits != 0; }

 private:
  Any any_;
};

/// What an argument is.
Any of_bool(bool value) noexcept;
Any of_int(std::int64_t value) noexcept;
Any of_tensor(Tensor& tensor) noexcept;
/// @throws Error run_failed where the library makes none
Value string_of(std::string_view text);
Value bytes_of(std::string_view bytes);
Value array_of(std::span<const Any> elements);

/// A method or constructor of a type, by its name there; the process has it for ever.
class Function {
 public:
  /// @throws Error grammar_unavailable where there is none
  Function(std::string_view type, std::string_view name);

  /// @throws CallFailed with what the library says
  Value operator()(std::span<const Any> arguments) const;

 private:
  void* handle_ = nullptr;
};

/// What a function of the library threw.
struct CallFailed {
  std::string message;
};

/// Loads xgrammar and what it needs from a directory of Python packages, once for the process.
/// @throws Error grammar_unavailable
void load(const std::filesystem::path& directory);

}  // namespace kvcache::decoding::xgrammar
