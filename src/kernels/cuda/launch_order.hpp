// Where and when a kernel is started.
#pragma once

#include <cuda_runtime_api.h>

namespace kvcache::kernels {

/// A stream, and whether a kernel put into it may start while the one before still runs: it then
/// reads the run's inputs and the past of the cache at once, and the rest when that one has ended.
struct LaunchOrder {
  LaunchOrder(cudaStream_t to, bool may_overlap = true) : stream(to), overlaps(may_overlap) {}

  cudaStream_t stream;
  bool overlaps;
};

}  // namespace kvcache::kernels
