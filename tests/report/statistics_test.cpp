#include "report/statistics.hpp"

#include <gtest/gtest.h>

namespace kvcache::report {
namespace {

TEST(Quantile, LiesBetweenNeighbours) {
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({10, 0}, 0.9), 9);
  EXPECT_DOUBLE_EQ(quantile({5, 7, 6}, 0), 5);
  EXPECT_DOUBLE_EQ(quantile({5, 7, 6}, 1), 7);
}

TEST(Quantile, OfOneSampleIsThatSample) { EXPECT_DOUBLE_EQ(quantile({3}, 0.9), 3); }

TEST(Median, IsNotMovedByOneOutlier) { EXPECT_DOUBLE_EQ(median({1, 2, 1000}), 2); }

TEST(Summary, HoldsWhatIsReported) {
  const Summary summary = summarize({3, 1, 2, 5, 4});
  EXPECT_EQ(summary.count, 5U);
  EXPECT_DOUBLE_EQ(summary.min, 1);
  EXPECT_DOUBLE_EQ(summary.median, 3);
  EXPECT_DOUBLE_EQ(summary.p90, 4.6);
  EXPECT_DOUBLE_EQ(summary.max, 5);
}

}  // namespace
}  // namespace kvcache::report
