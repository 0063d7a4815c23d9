// Which tokens are merged, and in which order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "text/vocabulary.hpp"

namespace kvcache::text {

/// A rule: two tokens side by side become one. Of all that apply, the lowest rank comes first.
struct Merge {
  std::int32_t rank;
  Id merged;
};

/// The rules by their pairs, in one table of open addresses.
class Merges {
 public:
  /// Of two rules for one pair the later one holds, as in the reference.
  void add(Id left, Id right, Merge merge);

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] const Merge* find(Id left, Id right) const noexcept {
    if (slots_.empty()) {
      return nullptr;
    }
    const std::uint64_t pair = key(left, right);
    for (std::size_t place = place_of(pair);; place = (place + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[place];
      if (slot.pair == pair) {
        return &slot.merge;
      }
      if (slot.pair == kFree) {
        return nullptr;
      }
    }
  }

  /// Calls `visit` with what each rule makes.
  template <typename Visit>
  void for_each_merged(Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.pair != kFree) {
        visit(slot.merge.merged);
      }
    }
  }

  /// Whether a rule merges a token of which `is_meant` is true.
  template <typename IsMeant>
  [[nodiscard]] bool names_any(IsMeant is_meant) const {
    return std::ranges::any_of(slots_, [&](const Slot& slot) {
      return slot.pair != kFree && (is_meant(static_cast<Id>(slot.pair >> 32U)) ||
                                    is_meant(static_cast<Id>(slot.pair & 0xFFFFFFFFU)));
    });
  }

  /// Merges `tokens` in place until no rule applies: the lowest rank first, then the leftmost.
  /// Takes O(n log n) for n tokens.
  void apply(std::vector<Id>& tokens) const;

 private:
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t pair = kFree;
    Merge merge{};
  };

  static std::uint64_t key(Id left, Id right) noexcept {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32U |
           static_cast<std::uint32_t>(right);
  }
  [[nodiscard]] std::size_t place_of(std::uint64_t pair) const noexcept {
    constexpr std::uint64_t kGoldenRatio = 0x9E3779B97F4A7C15U;
    return (pair * kGoldenRatio) >> shift_;
  }
  void grow();
  void apply_to_few(std::vector<Id>& tokens) const;
  void apply_to_many(std::vector<Id>& tokens) const;

  std::vector<Slot> slots_;  // a power of two, at most half of them taken
  unsigned shift_ = 64;
  std::size_t size_ = 0;
};

}  // namespace kvcache::text
