// Which tokens of a long text stay in a context of limited size.
#pragma once

#include <cstddef>

namespace kvcache::cache {

/// A text is whole up to `size + stride` tokens. The next token makes it slide: of the text before
/// it, the first `sinks` tokens and the last ones stay, `size` in all, and `stride` more may come
/// until it slides again. So what a text keeps depends on its length alone, not on how it grew.
struct Window {
  std::size_t size;
  std::size_t stride;
  std::size_t sinks;  // below size

  [[nodiscard]] constexpr std::size_t capacity() const noexcept { return size + stride; }

  /// Tokens that stay of a text of `length`.
  [[nodiscard]] constexpr std::size_t kept(std::size_t length) const noexcept {
    return length <= capacity() ? length : size + (length - size - 1) % stride + 1;
  }

  /// Tokens that left, all of them between the sinks and the rest.
  [[nodiscard]] constexpr std::size_t left(std::size_t length) const noexcept {
    return length - kept(length);
  }
};

}  // namespace kvcache::cache
