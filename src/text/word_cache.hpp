// The tokens of words met before.
#pragma once

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "text/vocabulary.hpp"

namespace kvcache::text {

/// A short word and its tokens, in one line of the processor's cache.
class alignas(64) CachedWord {
 public:
  /// The word's tokens; empty where another word, or none, is here.
  [[nodiscard]] std::span<const Id> find(std::string_view word) const noexcept {
    if (length_ != word.size() || std::memcmp(word_.data(), word.data(), length_) != 0) {
      return {};
    }
    return {ids_.data(), count_};
  }

  /// Keeps a word unless it is too long, or has no tokens or too many.
  void keep(std::string_view word, std::span<const Id> ids) noexcept {
    if (word.size() > word_.size() || ids.empty() || ids.size() > ids_.size()) {
      return;
    }
    length_ = static_cast<std::uint8_t>(word.size());
    count_ = static_cast<std::uint8_t>(ids.size());
    std::memcpy(word_.data(), word.data(), word.size());
    std::ranges::copy(ids, ids_.begin());
  }

 private:
  std::uint8_t length_ = 0;
  std::uint8_t count_ = 0;
  std::array<char, 30> word_{};
  std::array<Id, 8> ids_{};
};

/// Words, each at the one place that its hash names, where a later one takes the place of an
/// earlier one: 2 MiB, whatever is encoded. Of one thread at a time.
class WordCache {
 public:
  WordCache() : words_(kWords) {}

  CachedWord& place_of(std::string_view word) noexcept {
    return words_[XXH3_64bits(word.data(), word.size()) & (kWords - 1)];
  }

 private:
  static constexpr std::size_t kWords = std::size_t{1} << 15U;
  std::vector<CachedWord> words_;
};

}  // namespace kvcache::text
