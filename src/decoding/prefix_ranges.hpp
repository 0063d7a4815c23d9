// Sequences by their beginnings: a trie without nodes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace kvcache::decoding {

/// The items [begin, end) of a sorted list: all that begin with the same `depth` symbols.
struct PrefixRange {
  std::size_t begin;
  std::size_t end;
  std::size_t depth;

  [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
};

/// Strings, or sequences of tokens, sorted and each once. A range is a node of their trie; nothing
/// but the items takes memory.
template <typename Sequence>
class PrefixRanges {
 public:
  using Symbol = typename Sequence::value_type;

  /// In any order, with duplicates.
  explicit PrefixRanges(std::vector<Sequence> items) : items_(std::move(items)) {
    std::ranges::sort(items_);
    // clang 14 does not compile std::ranges::unique of GCC 12's library.
    items_.erase(std::unique(items_.begin(), items_.end()), items_.end());
  }

  [[nodiscard]] const std::vector<Sequence>& items() const noexcept { return items_; }

  [[nodiscard]] PrefixRange all() const noexcept { return {0, items_.size(), 0}; }

  /// Whether the first of a range, which is not empty, ends here: it is the shortest of them.
  [[nodiscard]] bool ends(const PrefixRange& range) const noexcept {
    return items_[range.begin].size() == range.depth;
  }

  /// Whether one of a range goes on.
  [[nodiscard]] bool goes_on(const PrefixRange& range) const noexcept {
    return range.size() > 1 || !ends(range);
  }

  /// Those of a range that go on with this symbol; maybe none.
  [[nodiscard]] PrefixRange next(const PrefixRange& range, Symbol symbol) const noexcept {
    const auto first = items_.begin();
    const auto from = first + static_cast<std::ptrdiff_t>(first_that_goes_on(range));
    const auto end = first + static_cast<std::ptrdiff_t>(range.end);
    const auto symbol_of = [&](const Sequence& item) { return order(item[range.depth]); };
    const auto begin_of_found = std::partition_point(
        from, end, [&](const Sequence& item) { return symbol_of(item) < order(symbol); });
    const auto end_of_found = std::partition_point(begin_of_found, end, [&](const Sequence& item) {
      return symbol_of(item) <= order(symbol);
    });
    return {static_cast<std::size_t>(begin_of_found - first),
            static_cast<std::size_t>(end_of_found - first), range.depth + 1};
  }

  /// Calls take(symbol, range) for each symbol that those of a range go on with.
  template <typename Take>
  void for_each_next(const PrefixRange& range, const Take& take) const {
    std::size_t begin = first_that_goes_on(range);
    while (begin < range.end) {
      const Symbol symbol = items_[begin][range.depth];
      const PrefixRange found = next({begin, range.end, range.depth}, symbol);
      take(symbol, found);
      begin = found.end;
    }
  }

 private:
  /// Bytes are ordered as std::string orders them.
  [[nodiscard]] static auto order(Symbol symbol) noexcept {
    if constexpr (std::is_same_v<Symbol, char>) {
      return static_cast<unsigned char>(symbol);
    } else {
      return symbol;
    }
  }

  [[nodiscard]] std::size_t first_that_goes_on(const PrefixRange& range) const noexcept {
    return range.begin + (range.begin < range.end && ends(range) ? 1 : 0);
  }

  std::vector<Sequence> items_;
};

}  // namespace kvcache::decoding
