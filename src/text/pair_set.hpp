// Pairs of characters that stand side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvcache::text {

/// A set of ordered pairs of characters, in one table of open addresses.
class PairSet {
 public:
  void add(char32_t left, char32_t right) {
    if (2 * (size_ + 1) > slots_.size()) {
      grow();
    }
    std::uint64_t& slot = slot_of(key(left, right));
    size_ += slot == kFree ? 1 : 0;
    slot = key(left, right);
  }

  [[nodiscard]] bool has(char32_t left, char32_t right) const noexcept {
    const std::uint64_t pair = key(left, right);
    return size_ > 0 && const_cast<PairSet*>(this)->slot_of(pair) == pair;
  }

 private:
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  static constexpr std::size_t kFirstSlots = 1024;

  static std::uint64_t key(char32_t left, char32_t right) noexcept {
    return std::uint64_t{left} << 32U | right;
  }
  /// The slot that holds a pair, or the free one where it would be.
  [[nodiscard]] std::uint64_t& slot_of(std::uint64_t pair) noexcept {
    constexpr std::uint64_t kGoldenRatio = 0x9E3779B97F4A7C15U;
    constexpr unsigned kHighHalf = 32;
    std::size_t place = (pair * kGoldenRatio >> kHighHalf) & (slots_.size() - 1);
    while (slots_[place] != pair && slots_[place] != kFree) {
      place = (place + 1) & (slots_.size() - 1);
    }
    return slots_[place];
  }
  void grow() {
    std::vector<std::uint64_t> old(slots_.empty() ? kFirstSlots : 2 * slots_.size(), kFree);
    std::swap(old, slots_);
    for (const std::uint64_t pair : old) {
      if (pair != kFree) {
        slot_of(pair) = pair;
      }
    }
  }

  std::vector<std::uint64_t> slots_;  // a power of two, at most half of them taken
  std::size_t size_ = 0;
};

}  // namespace kvcache::text
