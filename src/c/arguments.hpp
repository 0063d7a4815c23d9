// Arguments from C: nothing about a pointer, a number or a size is taken for granted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/throw_error.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"

namespace kvcache::c {

[[noreturn]] void throw_null(const char* function, const char* name);
[[noreturn]] void throw_count(const char* function, const char* name, std::size_t count);

/// One call of a function of kvcache.h, whose name is in what is said of its arguments.
class Call {
 public:
  explicit Call(const char* function) noexcept : function_(function) {}

  [[nodiscard]] const char* function() const noexcept { return function_; }

  /// An argument that must not be NULL.
  template <typename Pointer>
  Pointer& needed(Pointer* pointer, const char* name) const {
    if (pointer == nullptr) {
      throw_null(function_, name);
    }
    return *pointer;
  }

  /// `count` elements, which may be none. A count that no memory has is refused before one is read.
  template <typename Element>
  std::span<const Element> elements(const Element* first, std::size_t count,
                                    const char* name) const {
    if (count > static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(Element)) {
      throw_count(function_, name, count);
    }
    if (count > 0) {
      needed(first, name);
    }
    return {first, count};
  }

  /// A text of `size` bytes.
  [[nodiscard]] std::string_view text(const char* first, std::size_t size, const char* name) const {
    const std::span<const char> bytes = elements(first, size, name);
    return {bytes.data(), bytes.size()};
  }

  /// A field that is true or false.
  [[nodiscard]] bool truth(std::int32_t value, const char* name) const;

  [[nodiscard]] LogitsFor logits_for(std::int32_t value) const;

 private:
  const char* function_;
};

}  // namespace kvcache::c
