#include "report/read_bandwidth.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "report/statistics.hpp"

namespace kvcache::report {
namespace {

constexpr std::size_t kSmall = std::size_t{8} << 20;

TEST(ReadBandwidth, SamplesEveryShapeAndReportsTheBest) {
  ReadBandwidth bandwidth(2, kSmall);
  bandwidth.sample(3);
  bandwidth.sample(1);
  const BandwidthResult result = bandwidth.result();

  EXPECT_EQ(result.threads, 2);
  EXPECT_EQ(result.array_bytes, kSmall);
  EXPECT_EQ(result.shapes.size(), 8U);
  for (const ShapeBandwidth& shape : result.shapes) {
    EXPECT_EQ(shape.samples.size(), 4U) << shape.shape;
    EXPECT_GT(median(shape.samples), 1e6) << shape.shape;
    EXPECT_LE(median(shape.samples), result.bytes_per_second) << shape.shape;
  }
  EXPECT_DOUBLE_EQ(median(result.shapes.at(result.best).samples), result.bytes_per_second);
}

TEST(ReadBandwidth, GivesEveryThreadSomethingToRead) {
  ReadBandwidth bandwidth(3, 1);
  bandwidth.sample(1);
  EXPECT_EQ(bandwidth.result().array_bytes, std::size_t{3} * (2U << 20U));
}

}  // namespace
}  // namespace kvcache::report
