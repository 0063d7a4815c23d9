// Copies within the device's memory.
#pragma once

#include <cstddef>
#include <cstring>

namespace kvcache::device {

/// Copies `count` pieces of `bytes`, `stride` bytes apart on both sides.
inline void copy_strided(std::byte* to, const std::byte* from, std::size_t bytes,
                         std::size_t stride, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(to + i * stride, from + i * stride, bytes);
  }
}

}  // namespace kvcache::device
