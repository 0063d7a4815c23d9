// Philox4x32-10, random numbers by counting: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers:
// As Easy as 1, 2, 3" (SC 2011). Nothing is remembered between two of them.
#pragma once

#include <array>
#include <cstdint>

namespace kvcache::decoding {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

/// Four random words of a counter and a key.
constexpr PhiloxCounter philox(PhiloxCounter counter, PhiloxKey key) noexcept {
  constexpr std::array<std::uint64_t, 2> kMultipliers{0xD2511F53, 0xCD9E8D57};
  constexpr std::array<std::uint32_t, 2> kKeySteps{0x9E3779B9, 0xBB67AE85};
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t even = kMultipliers[0] * counter[0];
    const std::uint64_t odd = kMultipliers[1] * counter[2];
    counter = {static_cast<std::uint32_t>(odd >> 32U) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(odd),
               static_cast<std::uint32_t>(even >> 32U) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(even)};
    key = {key[0] + kKeySteps[0], key[1] + kKeySteps[1]};
  }
  return counter;
}

/// A number of [0, 1), a multiple of 2^−53: of a seed, the one that draws the token at a position
/// of a sample.
constexpr double uniform(std::uint64_t seed, std::uint64_t sample,
                         std::uint64_t position) noexcept {
  const auto low = [](std::uint64_t word) { return static_cast<std::uint32_t>(word); };
  const auto high = [](std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32U); };
  const PhiloxCounter words =
      philox({low(position), high(position), low(sample), high(sample)}, {low(seed), high(seed)});
  const std::uint64_t bits = (std::uint64_t{words[1]} << 32U | words[0]) >> 11U;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace kvcache::decoding
