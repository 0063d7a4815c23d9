#include <cstdint>

#include "kernels/cuda/copy_pieces.hpp"

namespace kvcache::kernels {
namespace {

/// Grid: pieces, pools. T divides everything.
template <typename T>
__global__ void copy_pieces_kernel(std::byte* to, const std::byte* from, std::size_t bytes,
                                   std::size_t stride, std::size_t pool_stride) {
  const std::size_t at = blockIdx.x * stride + blockIdx.y * pool_stride;
  auto* to_piece = reinterpret_cast<T*>(to + at);
  const auto* from_piece = reinterpret_cast<const T*>(from + at);
  for (std::size_t i = threadIdx.x; i < bytes / sizeof(T); i += blockDim.x) {
    to_piece[i] = from_piece[i];
  }
}

}  // namespace

cudaError_t copy_pieces(std::byte* to, const std::byte* from, std::size_t bytes, std::size_t stride,
                        std::size_t count, std::size_t pool_stride, std::size_t pools,
                        cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(count), static_cast<unsigned>(pools));
  const std::size_t all = reinterpret_cast<std::uintptr_t>(to) |
                          reinterpret_cast<std::uintptr_t>(from) | bytes | stride | pool_stride;
  if (all % sizeof(uint4) == 0) {
    copy_pieces_kernel<uint4><<<grid, 128, 0, stream>>>(to, from, bytes, stride, pool_stride);
  } else {
    copy_pieces_kernel<unsigned short>
        <<<grid, 128, 0, stream>>>(to, from, bytes, stride, pool_stride);
  }
  return cudaGetLastError();
}

}  // namespace kvcache::kernels
