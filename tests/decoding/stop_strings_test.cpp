#include "decoding/stop_strings.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/models.hpp"
#include "text/utf8.hpp"

namespace kvcache::decoding {
namespace {

/// What a reader of the whole text says: up to the first string that is complete, the longest of
/// several.
std::string until_stop(const std::string& text, const std::vector<std::string>& stops,
                       bool& found) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) {
      found = true;
      return text.substr(0, end - longest);
    }
  }
  found = false;
  return text;
}

/// Whether the end of `text` is the beginning of a stop string: what may wait.
std::size_t longest_beginning(const std::string& text, const std::vector<std::string>& stops) {
  std::size_t longest = 0;
  for (const std::string& stop : stops) {
    for (std::size_t size = 1; size < stop.size(); ++size) {
      if (text.ends_with(stop.substr(0, size))) {
        longest = std::max(longest, size);
      }
    }
  }
  return longest;
}

std::string random_text(test::Random& random, std::int64_t most) {
  std::string text;
  const std::vector<std::string> letters{"a", "b", "ab", "é", "€"};
  for (std::int64_t left = random.integer(1, most); left > 0; --left) {
    text += random.pick(letters);
  }
  return text;
}

TEST(StopStrings, FindWhatAReaderOfTheWholeTextFinds) {
  test::for_random_cases(2000, [](test::Random& random) {
    std::vector<std::string> stops;
    for (std::int64_t left = random.integer(0, 3); left > 0; --left) {
      stops.push_back(random_text(random, 5));
    }
    const std::string text = random_text(random, 40);
    bool expected_stop = false;
    const std::string expected = until_stop(text, stops, expected_stop);
    StopStrings finder(stops);
    std::string found;
    std::string given;
    while (given.size() < text.size() && !finder.found()) {
      std::string piece;  // of whole characters, as a TextStream gives them
      for (std::int64_t left = random.integer(1, 4); left > 0; --left) {
        if (given.size() + piece.size() < text.size()) {
          const std::size_t at = given.size() + piece.size();
          piece += text.substr(at, text::character_at(text, at).length);
        }
      }
      given += piece;
      found += finder.push(piece);
      EXPECT_FALSE(text::first_invalid_byte(found));
      if (!finder.found()) {  // no more waits than has to
        EXPECT_EQ(given.size() - found.size(), longest_beginning(given, stops));
      }
    }
    found += finder.finish();
    EXPECT_EQ(finder.found(), expected_stop);
    EXPECT_EQ(found, expected);
  });
}

TEST(StopStrings, TakeLinearTimeOnTextsThatNearlyMatch) {
  // A quadratic search would take 10^11 steps.
  std::vector<std::string> stops{std::string(300'000, 'a') + "b"};
  StopStrings finder(stops);
  const std::string text(1'000'000, 'a');
  EXPECT_EQ(finder.push(text).size(), 700'000U);
  EXPECT_EQ(finder.push("b"), "");
  EXPECT_TRUE(finder.found());
}

TEST(StopStrings, RefuseWhatCannotBeFound) {
  const auto make = [](const std::string& text) {
    const std::vector<std::string> strings{text};
    const StopStrings finder(strings);
  };
  test::expect_error(ErrorCode::invalid_argument, "a stop string is empty", [&] { make(""); });
  test::expect_error(ErrorCode::invalid_argument, "\"\\ufffd\" is not UTF-8 from byte 0 on",
                     [&] { make("\xFF"); });
}

}  // namespace
}  // namespace kvcache::decoding
