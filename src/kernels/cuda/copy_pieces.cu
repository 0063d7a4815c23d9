#include <algorithm>
#include <cstdint>

#include "kernels/cuda/copy_pieces.hpp"

namespace kvcache::kernels {
namespace {

constexpr unsigned kThreads = 256;

/// As a kernel takes them.
struct Copies {
  PieceCopy of[kMostCopies];
  unsigned count;
};

/// Grid: pieces, pools; a block does all copies of its piece, a warp each. T divides everything.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    copy_pieces_kernel(std::byte* memory, const __grid_constant__ Copies copies, std::size_t stride,
                       std::size_t pool_stride) {
  std::byte* const piece = memory + blockIdx.x * stride + blockIdx.y * pool_stride;
  const unsigned lane = threadIdx.x % 32;
  unsigned end = 0;
  for (unsigned begin = 0; begin < copies.count; begin = end) {
    end = begin + 1;
    while (end < copies.count && copies.of[end].turn == copies.of[begin].turn) {
      ++end;
    }
    for (unsigned number = begin + threadIdx.x / 32; number < end; number += kThreads / 32) {
      const PieceCopy& copy = copies.of[number];
      auto* to = reinterpret_cast<T*>(piece + copy.to);
      const auto* from = reinterpret_cast<const T*>(piece + copy.from);
      for (std::size_t i = lane; i < copy.bytes / sizeof(T); i += 32) {
        to[i] = from[i];
      }
    }
    __syncthreads();
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
  listed.count = static_cast<unsigned>(copies.size());
  std::copy(copies.begin(), copies.end(), listed.of);
  std::size_t all = reinterpret_cast<std::uintptr_t>(memory) | layout.stride | layout.pool_stride;
  for (const PieceCopy& copy : copies) {
    all |= copy.to | copy.from | copy.bytes;
  }
  const dim3 grid(static_cast<unsigned>(layout.count), static_cast<unsigned>(layout.pools));
  // A key of int8 with its scale may have any number of bytes.
  const auto kernel = all % sizeof(uint4) == 0            ? copy_pieces_kernel<uint4>
                      : all % sizeof(unsigned) == 0       ? copy_pieces_kernel<unsigned>
                      : all % sizeof(unsigned short) == 0 ? copy_pieces_kernel<unsigned short>
                                                          : copy_pieces_kernel<unsigned char>;
  kernel<<<grid, kThreads, 0, stream>>>(memory, listed, layout.stride, layout.pool_stride);
  return cudaGetLastError();
}

}  // namespace kvcache::kernels
