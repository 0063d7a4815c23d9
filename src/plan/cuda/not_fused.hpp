// Why a model or a run has no fused step.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace kvcache::plan {

/// The reason, for the log.
class NotFused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const char* otherwise) {
  if (!holds) {
    throw NotFused(otherwise);
  }
}

inline void require_success(cudaError_t error, const char* doing) {
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw NotFused("the GPU has no memory for the layers' weights in a second order");
  }
  if (error != cudaSuccess) {
    throw NotFused(std::string(doing) + ": " + cudaGetErrorString(error));
  }
}

}  // namespace kvcache::plan
