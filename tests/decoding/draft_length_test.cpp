#include "decoding/draft_length.hpp"

#include <gtest/gtest.h>

namespace kvcache::decoding {
namespace {

/// Runs in which each guess is right or each is wrong, and a token more costs so much.
std::size_t guessed_after(int runs, bool right, double milliseconds_a_guess, std::size_t most) {
  DraftLength length(most);
  std::size_t guesses = 0;
  for (int run = 0; run < runs; ++run) {
    guesses = length.next();
    length.note(guesses, right ? guesses : 0, !right && guesses > 0,
                1 + milliseconds_a_guess * static_cast<double>(guesses));
  }
  return guesses;
}

TEST(DraftLengthTest, GuessesAsManyAsAllowedWhereGuessesAreRightAndCheap) {
  EXPECT_EQ(guessed_after(100, true, 0.01, 15), 15U);
  EXPECT_EQ(guessed_after(100, true, 0.01, 14), 7U);  // lengths are one less than powers of two
  EXPECT_EQ(guessed_after(100, true, 0.01, 0), 0U);
}

TEST(DraftLengthTest, RunsHaveFewShapes) {
  EXPECT_EQ(DraftLength::of(0), 0U);
  EXPECT_EQ(DraftLength::of(2), 1U);
  EXPECT_EQ(DraftLength::of(7), 7U);
  EXPECT_EQ(DraftLength::of(14), 7U);
  EXPECT_EQ(DraftLength::of(100), 63U);
}

TEST(DraftLengthTest, GuessesNothingWhereGuessesAreWrong) {
  DraftLength length(15);
  std::size_t runs_with_guesses = 0;
  for (int run = 0; run < 400; ++run) {
    const std::size_t guesses = length.next();
    if (run >= 100) {
      EXPECT_LE(guesses, 1U) << "run " << run;
      runs_with_guesses += guesses > 0 ? 1 : 0;
    }
    length.note(guesses, 0, guesses > 0, 1 + 0.2 * static_cast<double>(guesses));
  }
  EXPECT_GE(runs_with_guesses, 5U);  // they may become right again
  EXPECT_LE(runs_with_guesses, 15U);
}

TEST(DraftLengthTest, LittleIsLostWhereGuessesAreWrong) {
  DraftLength length(15);
  double took = 0;
  for (int run = 0; run < 256; ++run) {
    const std::size_t guesses = length.next();
    const double milliseconds = 50 + 5 * static_cast<double>(guesses);
    length.note(guesses, 0, guesses > 0, milliseconds);
    took += milliseconds;
  }
  EXPECT_LT(took, 256 * 50 * 1.01);
}

TEST(DraftLengthTest, LongerRunsAreNotTriedWhereShorterOnesSayThatTheyCannotPay) {
  DraftLength length(63);
  for (int run = 0; run < 200; ++run) {
    const std::size_t guesses = length.next();
    ASSERT_LE(guesses, 7U) << "run " << run;
    length.note(guesses, guesses / 2, guesses > 1, 10 + 5 * static_cast<double>(guesses));
  }
}

TEST(DraftLengthTest, GuessesNothingWhereRunsOfManyTakeAsLongAsManyRuns) {
  EXPECT_LE(guessed_after(101, true, 1.5, 15), 1U);
}

TEST(DraftLengthTest, FindsBackToManyOnceGuessesAreRight) {
  DraftLength length(15);
  const auto run = [&](bool right) {
    const std::size_t guesses = length.next();
    length.note(guesses, right ? guesses : 0, !right && guesses > 0,
                1 + 0.05 * static_cast<double>(guesses));
    return guesses;
  };
  for (int i = 0; i < 200; ++i) {
    run(false);
  }
  std::size_t guesses = 0;
  for (int i = 0; i < 200; ++i) {
    guesses = run(true);
  }
  EXPECT_EQ(guesses, 15U);
}

}  // namespace
}  // namespace kvcache::decoding
