// What CUDA's calls return, as errors of this library.
#pragma once

#include <cuda_runtime_api.h>

#include "base/throw_error.hpp"

namespace kvcache::device {

/// @throws Error out_of_memory or run_failed, saying what was being done
inline void check_cuda(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) {
    return;
  }
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is not one of those that stay
    throw_error(ErrorCode::out_of_memory,
                "the GPU has no memory for {}; free memory, or give a smaller cache_bytes", doing);
  }
  throw_error(ErrorCode::run_failed, "CUDA failed while {}: {} ({})", doing,
              cudaGetErrorString(error), cudaGetErrorName(error));
}

}  // namespace kvcache::device
