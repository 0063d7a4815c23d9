#include "report/environment.hpp"

#include <gtest/gtest.h>

#include <regex>
#include <vector>

namespace kvcache::report {
namespace {

TEST(Environment, IsFilledIn) {
  const Environment environment = read_environment();
  EXPECT_TRUE(std::regex_match(environment.kvcache_version, std::regex(R"(\d+\.\d+\.\d+)")));
  EXPECT_TRUE(std::regex_match(environment.onnxruntime_version, std::regex(R"(\d+\.\d+\.\d+.*)")));
  EXPECT_TRUE(std::regex_match(environment.date, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")));
  EXPECT_FALSE(environment.compiler.empty());
  EXPECT_FALSE(environment.operating_system.empty());
  EXPECT_FALSE(environment.processor.empty());
  EXPECT_GE(environment.physical_cores, 1);
  EXPECT_GE(environment.logical_cpus, 1);
  EXPECT_GT(environment.memory_bytes, std::size_t{1} << 20);
}

TEST(PeakResidentBytes, SeesMemoryThatWasTouched) {
  constexpr std::size_t kMuch = std::size_t{64} << 20;
  const std::size_t before = peak_resident_bytes();
  const std::vector<char> touched(kMuch, 'x');
  EXPECT_GE(peak_resident_bytes(), kMuch);
  EXPECT_GE(peak_resident_bytes(), before);
  EXPECT_EQ(touched.back(), 'x');
}

}  // namespace
}  // namespace kvcache::report
