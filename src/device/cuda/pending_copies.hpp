// Copies within the cache that nobody has put into the stream yet.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <mutex>
#include <vector>

#include "device/pool_memory.hpp"
#include "kernels/cuda/copy_pieces.hpp"

namespace kvcache::device {

inline kernels::PieceLayout layout_of(const Pieces& pieces) noexcept {
  return {pieces.stride, pieces.count, pieces.pool_stride, pieces.pools};
}

/// Whoever puts something into the stream puts these in before it, a few launches for all of them.
/// So a thread that commits nodes of a tree need not wait for its turn with the stream.
class PendingCopies {
 public:
  /// For any thread.
  void add(std::size_t to, std::size_t from, const Pieces& pieces);

  /// Puts all of them into the stream, in their order where it matters; under the stream's lock.
  /// What fails is reported by the next run: errors of a stream stay.
  void put_in(std::byte* memory, cudaStream_t stream) noexcept;

 private:
  /// Those that one launch can do: of one layout, none of which touches what another writes.
  struct Group {
    kernels::PieceLayout layout;
    std::vector<kernels::PieceCopy> copies;

    /// Whether a copy must come after this group's.
    [[nodiscard]] bool precedes(const kernels::PieceCopy& copy) const noexcept;
    [[nodiscard]] bool has_room_for(const kernels::PieceLayout& of) const noexcept {
      return layout == of && copies.size() < kernels::kMostCopies;
    }
  };

  std::mutex mutex_;
  std::vector<Group> groups_;
};

}  // namespace kvcache::device
