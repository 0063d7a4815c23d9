// Sampling options that cut a vocabulary in some of the ways that there are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvcache/sampler.hpp"
#include "support/random_cases.hpp"

namespace kvcache::test {

/// A temperature above 0, top_k in [least_k, most_k], and each of the other cuts in half of the
/// cases.
inline SamplingOptions random_cuts(Random& random, std::int64_t least_k, std::int64_t most_k) {
  const auto share = [&] { return static_cast<double>(random.integer(1, 999)) / 1000; };
  return {.temperature = 0.1 + share(),
          .top_k = static_cast<std::size_t>(random.integer(least_k, most_k)),
          .top_p = random.chance(0.5) ? 1 : share(),
          .min_p = random.chance(0.5) ? 0 : share() / 10,
          .typical_p = random.chance(0.5) ? 1 : share()};
}

}  // namespace kvcache::test
