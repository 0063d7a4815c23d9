#include <algorithm>
#include <cstdint>

#include "kernels/cuda/copy_pieces.hpp"

namespace kvcache::kernels {
namespace {

/// As a kernel takes them.
struct Copies {
  PieceCopy of[kMostCopies];
};

/// Grid: pieces, pools, copies. T divides everything.
template <typename T>
__global__ void copy_pieces_kernel(std::byte* memory, Copies copies, std::size_t stride,
                                   std::size_t pool_stride) {
  const PieceCopy& copy = copies.of[blockIdx.z];
  const std::size_t at = blockIdx.x * stride + blockIdx.y * pool_stride;
  auto* to = reinterpret_cast<T*>(memory + copy.to + at);
  const auto* from = reinterpret_cast<const T*>(memory + copy.from + at);
  for (std::size_t i = threadIdx.x; i < copy.bytes / sizeof(T); i += blockDim.x) {
    to[i] = from[i];
  }
}

}  // namespace

cudaError_t copy_pieces(std::byte* memory, std::span<const PieceCopy> copies,
                        const PieceLayout& layout, cudaStream_t stream) {
  if (copies.empty() || layout.count == 0 || layout.pools == 0) {
    return cudaSuccess;
  }
  if (copies.size() > kMostCopies) {
    return cudaErrorInvalidValue;
  }
  Copies listed{};
  std::copy(copies.begin(), copies.end(), listed.of);
  std::size_t all = reinterpret_cast<std::uintptr_t>(memory) | layout.stride | layout.pool_stride;
  for (const PieceCopy& copy : copies) {
    all |= copy.to | copy.from | copy.bytes;
  }
  const dim3 grid(static_cast<unsigned>(layout.count), static_cast<unsigned>(layout.pools),
                  static_cast<unsigned>(copies.size()));
  if (all % sizeof(uint4) == 0) {
    copy_pieces_kernel<uint4>
        <<<grid, 128, 0, stream>>>(memory, listed, layout.stride, layout.pool_stride);
  } else {
    copy_pieces_kernel<unsigned short>
        <<<grid, 128, 0, stream>>>(memory, listed, layout.stride, layout.pool_stride);
  }
  return cudaGetLastError();
}

}  // namespace kvcache::kernels
