// Arrays and texts that the caller of C frees.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>

namespace kvcache::c {

struct Free {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// A copy for kvcache_free(), never NULL, with a zero element behind it.
template <typename Element>
Element* copy_for_caller(std::span<const Element> elements) {
  auto* const copy = static_cast<Element*>(std::calloc(elements.size() + 1, sizeof(Element)));
  if (copy == nullptr) {
    throw std::bad_alloc();
  }
  if (!elements.empty()) {
    std::memcpy(copy, elements.data(), elements.size_bytes());
  }
  return copy;
}

inline char* copy_for_caller(std::string_view text) {
  return copy_for_caller(std::span<const char>(text));
}

}  // namespace kvcache::c
