// Generating the same tokens with the cache (scenario A) and by recomputing all of the sequence for
// each of them (scenario B).
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <vector>

#include "kvcache_inferencer.hpp"
#include "program/interrupt.hpp"
#include "report/agreement.hpp"

namespace kvcache::prototype {

using Milliseconds = std::vector<double>;

/// What a call takes, in milliseconds.
/// @throws cli::Interrupted before the call
template <typename Call>
double time_of(const Call& call) {
  cli::throw_if_interrupted();
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

/// GPT-2's vocabulary ends with the token that begins a text, 50256.
TokenId begin_of_text(const KVCacheInferencer& inferencer);

/// Scenario A: step i (from 1) took latencies[i - 1] and gave sequence[i].
struct CachedGeneration {
  std::vector<TokenId> sequence;  // the prompt of one token, then the new ones
  Milliseconds latencies;
  std::map<std::size_t, std::vector<float>> logits;  // of some steps, to compare
  KVCacheInferencer::Metrics after_first;            // of all tokens but the first
};

CachedGeneration generate_with_cache(KVCacheInferencer& inferencer, std::size_t tokens);

/// Scenario B: step i recomputes a sequence of i tokens.
struct Recomputation {
  Milliseconds latencies;       // of every step; between the measured lengths, interpolated
  std::size_t measured = 0;     // lengths that were measured
  report::Agreement agreement;  // of the measured steps with scenario A
};

/// Measures every length or, where that would take more than half a minute, some of them.
Recomputation generate_without_cache(const KVCacheInferencer& inferencer,
                                     const CachedGeneration& cached);

}  // namespace kvcache::prototype
