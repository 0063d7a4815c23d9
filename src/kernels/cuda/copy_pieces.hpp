// Copies within the cache on CUDA, all pools in one launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>

namespace kvcache::kernels {

/// From one place to another: offsets and size in bytes, of the first piece in the first pool.
struct PieceCopy {
  std::size_t to;
  std::size_t from;
  std::size_t bytes;
  unsigned turn = 0;  // copies of one turn may be done at once, those of the next only then
};

/// The other pieces: `count`, `stride` apart on both sides, in each of `pools` pools that lie
/// `pool_stride` apart.
struct PieceLayout {
  std::size_t stride;
  std::size_t count;
  std::size_t pool_stride;
  std::size_t pools;

  friend bool operator==(const PieceLayout&, const PieceLayout&) = default;
};

inline constexpr std::size_t kMostCopies = 64;  // of a launch

/// Copies all pieces of up to kMostCopies copies within `memory`, in the order of their turns: none
/// may write what another of the same turn reads or writes, nor what another's piece of another
/// number or pool does.
cudaError_t copy_pieces(std::byte* memory, std::span<const PieceCopy> copies,
                        const PieceLayout& layout, cudaStream_t stream);

}  // namespace kvcache::kernels
