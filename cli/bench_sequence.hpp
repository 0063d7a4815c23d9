// The measurements of one sequence at a time: prefill, and decoding at several depths.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "kvcache/model.hpp"
#include "report/agreement.hpp"
#include "report/read_bandwidth.hpp"

namespace kvcache::cli {

struct SequenceBenchOptions {
  std::size_t prompt = 0;           // tokens of the prefill
  std::size_t tokens = 0;           // decoded in each round, at each depth
  std::vector<std::size_t> depths;  // tokens cached before decoding begins
  std::size_t repeat = 0;           // rounds
  std::size_t bandwidth_bytes = 0;  // of ReadBandwidth's arrays
  std::function<void(const std::string&)> progress;
};

/// Decoding at one depth: each sample is one token, model call and argmax.
struct DecodeTimes {
  std::size_t depth = 0;
  std::vector<double> samples_ms;  // of all rounds, one after the other
  double bytes_per_token = 0;      // weights, and the cache at the mean depth of the samples
};

struct SequenceBenchResult {
  std::vector<double> prefill_ms;  // each up to the first token, logits of the last one only
  std::vector<DecodeTimes> decode;
  report::BandwidthResult bandwidth;    // sampled between those measurements
  report::Agreement agreement;          // of decoding with forward_without_cache
  bool repeatable = true;               // every round chose the same tokens
  std::size_t peak_resident_bytes = 0;  // before the bandwidth's arrays were there
  std::size_t cache_bytes = 0;          // the cache's peak

  [[nodiscard]] bool holds() const noexcept { return agreement.holds() && repeatable; }
};

/// Measures after one round that warms up and checks agreement. Stops where the user interrupts.
SequenceBenchResult bench_sequence(const Model& model, const SequenceBenchOptions& options);

}  // namespace kvcache::cli
