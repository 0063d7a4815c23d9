// What the peers' programs have in common: tokens, choices, times and JSON.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace peers {

using Token = std::int64_t;

/// Any tokens will do, but the same ones for everybody.
inline std::vector<Token> tokens_of(std::size_t count, Token seed, Token vocab_size) {
  std::vector<Token> tokens(count);
  for (std::size_t i = 0; i < count; ++i) {
    tokens[i] = (static_cast<Token>(i) * 7919 + seed * 104729) % vocab_size;
  }
  return tokens;
}

/// The first of the largest; independent maxima, so that the compiler uses vectors.
inline Token best_of(std::span<const float> logits) {
  constexpr std::size_t kLanes = 64;
  std::array<float, kLanes> best;
  best.fill(-std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      best[lane] = logits[i + lane] > best[lane] ? logits[i + lane] : best[lane];
    }
  }
  float largest = *std::ranges::max_element(best);
  for (; i < logits.size(); ++i) {
    largest = std::max(largest, logits[i]);
  }
  return std::ranges::find(logits, largest) - logits.begin();
}

template <typename Call>
double time_of(const Call& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

template <typename T>
void print_list(const char* name, const std::vector<T>& values, const char* end) {
  std::printf("\"%s\": [", name);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::printf("%s%s", i == 0 ? "" : ", ", std::to_string(values[i]).c_str());
  }
  std::printf("]%s", end);
}

}  // namespace peers
