#include "report/read_bandwidth.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "report/statistics.hpp"

namespace kvcache::report {
namespace {

constexpr std::size_t kSmall = std::size_t{8} << 20;

TEST(ReadBandwidth, SamplesEveryShapeAndReportsTheBest) {
  ReadBandwidth bandwidth(2, kSmall);
  bandwidth.sample();
  bandwidth.sample();
  bandwidth.sample();
  EXPECT_EQ(bandwidth.samples(), 3U);
  const BandwidthResult result = bandwidth.result();

  EXPECT_EQ(result.threads, 2);
  EXPECT_EQ(result.array_bytes, kSmall);
  EXPECT_EQ(result.shapes.size(), 4U);
  for (const ShapeBandwidth& shape : result.shapes) {
    EXPECT_EQ(shape.samples.size(), 3U) << shape.shape;
    EXPECT_GT(median(shape.samples), 1e6) << shape.shape;
    EXPECT_LE(median(shape.samples), result.bytes_per_second) << shape.shape;
  }
  EXPECT_DOUBLE_EQ(median(result.shapes.at(result.best).samples), result.bytes_per_second);
}

TEST(ReadBandwidth, GivesEveryThreadSomethingToRead) {
  ReadBandwidth bandwidth(3, 1);
  bandwidth.sample();
  EXPECT_EQ(bandwidth.result().array_bytes, std::size_t{3} * (2U << 20U));
}

TEST(ReadBandwidth, OfTwoNeighboursIsThatOfBothPassesTogether) {
  const BandwidthResult result{.threads = 1,
                               .array_bytes = 300,
                               .shapes = {{"slow", {1, 1, 1}}, {"best", {100, 300, 150}}},
                               .best = 1,
                               .bytes_per_second = 150};
  EXPECT_DOUBLE_EQ(result.around(0), 600 / (300 / 100.0 + 300 / 300.0));
  EXPECT_DOUBLE_EQ(result.around(1), 600 / (300 / 300.0 + 300 / 150.0));
  EXPECT_THROW(static_cast<void>(result.around(2)), std::out_of_range);
}

}  // namespace
}  // namespace kvcache::report
