#include "program/progress.hpp"

#include <gtest/gtest.h>

namespace kvcache::cli {
namespace {

using Seconds = std::chrono::duration<double>;

TEST(ProgressLine, HasABarAndTheTimeLeft) {
  EXPECT_EQ(progress_line({"round 3 of 10", 2, 10}, Seconds(3), 80),
            "round 3 of 10  [####................]  20 %, 12 s left");
  EXPECT_EQ(progress_line({"round 1 of 10", 0, 10}, Seconds(3), 80),
            "round 1 of 10  [....................]   0 %");
  EXPECT_EQ(progress_line({"x", 10, 10}, Seconds(3), 80), "x  [####################] 100 %");
  EXPECT_EQ(progress_line({"comparing"}, Seconds(3), 80), "comparing");
}

TEST(ProgressLine, FitsTheTerminal) {
  for (std::size_t columns = 0; columns < 60; ++columns) {
    EXPECT_LE(progress_line({"a long description", 2, 10}, Seconds(3), columns).size(), columns);
  }
  EXPECT_EQ(progress_line({"a long description", 2, 10}, Seconds(3), 48),
            "a long description   20 %, 12 s left");
  EXPECT_EQ(progress_line({"a long description", 2, 10}, Seconds(3), 26),
            "a long d   20 %, 12 s left");
  EXPECT_EQ(progress_line({"ää€"}, Seconds(0), 2), "ää") << "characters are not cut";
}

TEST(ProgressLine, IsOneLineWhateverANameHolds) {
  EXPECT_EQ(progress_line({"a\nb\x1B[2J"}, Seconds(0), 80), "a?b?[2J");
}

TEST(ProgressLine, WritesDurations) {
  EXPECT_EQ(written_duration(Seconds(0)), "0 s");
  EXPECT_EQ(written_duration(Seconds(98.7)), "99 s");
  EXPECT_EQ(written_duration(Seconds(150)), "3 min");
  EXPECT_EQ(written_duration(Seconds(3900)), "65 min");
  EXPECT_EQ(written_duration(Seconds(7500)), "2 h 05 min");
}

}  // namespace
}  // namespace kvcache::cli
