// How many tokens to guess: what is expected to come of a run, over what it takes.
#pragma once

#include <array>
#include <cstddef>

namespace kvcache::decoding {

/// Learns, from run to run, how likely a guess is right and how long runs take.
class DraftLength {
 public:
  explicit DraftLength(std::size_t most);

  /// How many tokens to guess next. 0: none are worth their time.
  [[nodiscard]] std::size_t next();

  /// The most guesses of a length that runs have, of so many that there are: each shape of a run is
  /// slow until it was captured, so there are few.
  [[nodiscard]] static std::size_t of(std::size_t guesses) { return length(index_of(guesses)); }

  /// A run verified `drafted` guesses, took so long, guessing included, and found the first
  /// `accepted` of a path right. `missed`: there were guesses at the next token, and none was
  /// right.
  void note(std::size_t drafted, std::size_t accepted, bool missed, double milliseconds);

 private:
  /// Lengths are few, so that the runs' shapes are: one more than each is 1, 2, 4, … tokens.
  static constexpr std::size_t kLengths = 8;

  [[nodiscard]] static std::size_t length(std::size_t index) {
    return (std::size_t{1} << index) - 1;
  }
  /// Of the longest that is no longer than so many guesses.
  [[nodiscard]] static std::size_t index_of(std::size_t guesses);
  void note_guess(bool right);
  [[nodiscard]] double expected_tokens(std::size_t drafts) const;
  [[nodiscard]] double expected_milliseconds(std::size_t index) const;

  std::size_t lengths_;  // that are allowed
  double right_ = 0.5;   // the share of guesses, of late
  std::size_t guesses_ = 0;
  struct Time {
    std::size_t runs = 0;
    double milliseconds = 0;
  };
  std::array<Time, kLengths> times_;
  std::size_t runs_without_ = 0;  // since a guess was worth its time
};

}  // namespace kvcache::decoding
