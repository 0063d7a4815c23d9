#include "decoding/stop_strings.hpp"

#include <algorithm>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"
#include "text/utf8.hpp"

namespace kvcache::decoding {
namespace {

void check(std::string_view text) {
  if (text.empty()) {
    throw_error(ErrorCode::invalid_argument,
                "a stop string is empty, must have at least one character; leave it out");
  }
  if (const auto invalid = text::first_invalid_byte(text)) {
    throw_error(ErrorCode::invalid_argument,
                "the stop string {} is not UTF-8 from byte {} on; give it as UTF-8",
                in_quotes(text), *invalid);
  }
}

}  // namespace

StopStrings::StopStrings(std::span<const std::string> strings) {
  for (const std::string& text : strings) {
    check(text);
    Pattern pattern{text, std::vector<std::size_t>(text.size()), 0};
    for (std::size_t i = 1; i < text.size(); ++i) {
      advance(pattern, text[i]);
      pattern.borders[i] = pattern.matched;
    }
    pattern.matched = 0;
    patterns_.push_back(std::move(pattern));
  }
}

void StopStrings::advance(Pattern& pattern, char next) {
  while (pattern.matched > 0 && pattern.text[pattern.matched] != next) {
    pattern.matched = pattern.borders[pattern.matched - 1];
  }
  if (pattern.text[pattern.matched] == next) {
    ++pattern.matched;
  }
}

std::string StopStrings::push(std::string_view text) {
  for (const char next : text) {
    waiting_ += next;
    std::size_t longest = 0;  // of what is complete
    for (Pattern& pattern : patterns_) {
      advance(pattern, next);
      if (pattern.matched == pattern.text.size()) {
        longest = std::max(longest, pattern.matched);
      }
    }
    if (longest > 0) {
      found_ = true;
      return waiting_.substr(0, waiting_.size() - longest);
    }
  }
  std::size_t longest = 0;  // of what may become complete
  for (const Pattern& pattern : patterns_) {
    longest = std::max(longest, pattern.matched);
  }
  std::string passed = waiting_.substr(0, waiting_.size() - longest);
  waiting_.erase(0, passed.size());
  return passed;
}

}  // namespace kvcache::decoding
