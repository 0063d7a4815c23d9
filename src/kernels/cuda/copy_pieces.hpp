// Copies within the cache on CUDA, all pools in one launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace kvcache::kernels {

/// Copies `count` pieces of `bytes`, `stride` apart on both sides, in each of `pools` pools that
/// lie `pool_stride` apart.
cudaError_t copy_pieces(std::byte* to, const std::byte* from, std::size_t bytes, std::size_t stride,
                        std::size_t count, std::size_t pool_stride, std::size_t pools,
                        cudaStream_t stream);

}  // namespace kvcache::kernels
