// Whole multiples of non-negative numbers; also for CUDA's compiler, in C++17.
#pragma once

namespace kvcache {

/// How many pieces of `size` cover `count`.
template <typename T, typename Size>
constexpr T divide_up(T count, Size size) {
  return (count + static_cast<T>(size) - 1) / static_cast<T>(size);
}

/// The smallest multiple of `size` that is not below `count`.
template <typename T, typename Size>
constexpr T round_up(T count, Size size) {
  return divide_up(count, size) * static_cast<T>(size);
}

}  // namespace kvcache
