#include "report/html/axis.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "report/html/figure.hpp"

namespace kvcache::report::html {
namespace {

TEST(ChartAxis, HoldsItsValuesBetweenFewRoundOnes) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> power(-6, 9);
  for (int round = 0; round < 500; ++round) {
    const double most = std::pow(10, power(random));
    const double least = most * std::uniform_real_distribution<double>(-1, 1)(random);
    const Axis axis = Axis::linear(std::min(least, most), most, Unit::number);
    EXPECT_GE(axis.position(std::min(0.0, least)), -1e-9);
    EXPECT_LE(axis.position(most), 1 + 1e-9);
    EXPECT_GE(axis.position(most), 0.4) << "half of the drawing would be empty";
    EXPECT_GE(axis.ticks().size(), 2U);
    EXPECT_LE(axis.ticks().size(), 9U);
  }
}

TEST(ChartAxis, OfEqualValuesIsOne) {
  EXPECT_GT(Axis::linear(0, 0, Unit::number).ticks().size(), 1U);
  EXPECT_DOUBLE_EQ(Axis::powers_of_two(16, 16, Unit::count).position(16), 0);
}

TEST(ChartAxis, OfValuesThatDifferInTheirLastPlaces) {
  const double next = std::nextafter(1.0, 2.0);
  EXPECT_LE(Axis::linear(1, next, Unit::ratio, false).ticks().size(), 9U);
  EXPECT_TRUE(std::isfinite(Axis::linear(0, 5e-324, Unit::number).position(5e-324)));
  EXPECT_TRUE(std::isfinite(Axis::between(1e300, 1e300, Unit::number).position(1e300)));
}

TEST(ChartAxis, OfPowersOfTwo) {
  const Axis axis = Axis::powers_of_two(16, 1000, Unit::count);
  EXPECT_EQ(axis.ticks(), (std::vector<double>{16, 32, 64, 128, 256, 512, 1000}));
  EXPECT_DOUBLE_EQ(axis.position(16), 0);
  EXPECT_DOUBLE_EQ(axis.position(1000), 1);
}

TEST(ReportFigure, IsWrittenWithItsUnit) {
  EXPECT_EQ(written(21.345, Unit::milliseconds), "21.3 ms");
  EXPECT_EQ(written(0.137, Unit::milliseconds), "0.137 ms");
  EXPECT_EQ(written(0.5, Unit::ratio), "0.500×");
  EXPECT_EQ(written(1234567, Unit::count), "1,234,567");
  EXPECT_EQ(written(-1234, Unit::count), "-1,234");
  EXPECT_EQ(written(0.847, Unit::share), "85 %");
  EXPECT_EQ(written(75497472, Unit::bytes), "75.50 MB");
  EXPECT_EQ(written(16.7e9, Unit::bandwidth), "16.70 GB/s");
  EXPECT_EQ(written_spread(16.7, 52.04, Unit::milliseconds), "16.7 … 52.0 ms");
  EXPECT_EQ(written_spread(999, 1.2e6, Unit::bytes), "999 bytes … 1.20 MB");
  EXPECT_EQ(written_on_axis(2.5e8, Unit::bytes), "250 MB");
  EXPECT_EQ(exact(0.1), "0.1");
}

}  // namespace
}  // namespace kvcache::report::html
