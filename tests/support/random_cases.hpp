// Random test cases that can be repeated: every failure prints the seed of its case.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <random>
#include <string>

namespace kvcache::test {

inline std::uint64_t environment_or(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text != nullptr ? std::stoull(text) : fallback;
}

/// KVCACHE_TEST_SCALE times as many cases, but one: 50 in scripts/test --full, 0.05 for slow tools.
inline std::uint64_t scaled(std::uint64_t count) {
  const char* scale = std::getenv("KVCACHE_TEST_SCALE");  // NOLINT(concurrency-mt-unsafe)
  const double cases = static_cast<double>(count) * (scale != nullptr ? std::stod(scale) : 1.0);
  return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(cases));
}

/// Random numbers of one case.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// In [low, high], both included.
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  float normal() { return std::normal_distribution<float>()(engine_); }
  bool chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  template <typename Container>
  auto pick(const Container& from) {
    return from[static_cast<std::size_t>(
        integer(0, static_cast<std::int64_t>(std::size(from)) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

/// Calls `property(random)` for `count` cases, scaled, until one fails. KVCACHE_TEST_SEED is the
/// first case's seed.
template <typename Property>
void for_random_cases(std::uint64_t count, const Property& property) {
  const std::uint64_t first = environment_or("KVCACHE_TEST_SEED", 1);
  const std::uint64_t last = first + scaled(count);
  for (std::uint64_t seed = first; seed < last; ++seed) {
    SCOPED_TRACE("repeat with KVCACHE_TEST_SEED=" + std::to_string(seed));
    Random random(seed);
    property(random);
    if (testing::Test::HasFailure()) {
      return;
    }
  }
}

}  // namespace kvcache::test
