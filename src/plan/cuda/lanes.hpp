// What may be computed side by side on one device.
#pragma once

#include <cuda_runtime_api.h>

namespace kvcache::plan {

/// Work of one lane happens in the order in which it was put in. The first lane is the model's
/// stream.
struct Lane {
  cudaStream_t stream = nullptr;
  int number = 0;
};

inline constexpr int kLanes = 4;

}  // namespace kvcache::plan
