// What ends a text, found while the text comes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvcache::decoding {

/// Finds the first of some strings that is complete in a text, and the longest where several are
/// at once. What may yet become one waits. Each byte takes constant time on average, as Knuth,
/// Morris and Pratt do it.
class StopStrings {
 public:
  /// @throws Error invalid_argument for a string that is empty or not UTF-8
  explicit StopStrings(std::span<const std::string> strings);

  /// Takes more of the text; returns what is known to be before any stop string, whole characters
  /// where `text` is. Nothing may follow once found() is true.
  std::string push(std::string_view text);

  /// Whether a string came: the text ends with all that push() has returned.
  [[nodiscard]] bool found() const noexcept { return found_; }

  /// What was waiting, at the end of a text without a stop string.
  [[nodiscard]] std::string finish() const { return found_ ? std::string() : waiting_; }

 private:
  struct Pattern {
    std::string text;
    std::vector<std::size_t> borders;  // [i]: the longest border of the first i + 1 bytes
    std::size_t matched = 0;           // bytes of it that the text so far ends with
  };

  static void advance(Pattern& pattern, char next);

  std::vector<Pattern> patterns_;
  std::string waiting_;
  bool found_ = false;
};

}  // namespace kvcache::decoding
