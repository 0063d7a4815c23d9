// What the attention nodes of one model did: the evidence for "zero copies".
#pragma once

#include <atomic>
#include <cstdint>

namespace kvcache::ort {

/// Counted by every run of every CachedAttention node of a model, from any thread.
struct NodeCounters {
  std::atomic<std::uint64_t> in_place_runs{0};      // present was written inside past's buffer
  std::atomic<std::uint64_t> growing_runs{0};       // present was a new tensor
  std::atomic<std::uint64_t> past_bytes_copied{0};  // bytes of old tokens rewritten by growing runs
};

}  // namespace kvcache::ort
