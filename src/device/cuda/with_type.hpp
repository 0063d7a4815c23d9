// Kernels by the type of what they read.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include "kvcache/types.hpp"

namespace kvcache::device {

/// Calls `work` with a null pointer to the type that the device has for `type`.
template <typename Work>
cudaError_t with_type(DataType type, const Work& work) {
  switch (type) {
    case DataType::float32:
      return work(static_cast<const float*>(nullptr));
    case DataType::float16:
      return work(static_cast<const __half*>(nullptr));
    case DataType::bfloat16:
      return work(static_cast<const __nv_bfloat16*>(nullptr));
    case DataType::int8:
      break;  // of keys and values only
  }
  return cudaErrorInvalidValue;
}

}  // namespace kvcache::device
