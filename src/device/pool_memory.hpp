// Memory of the cache, wherever it is.
#pragma once

#include <cstddef>

namespace kvcache::device {

/// Pieces of memory at equal distances, twice: `count` pieces of `bytes`, `stride` apart, in each
/// of `pools` pools that lie `pool_stride` apart. Offsets and sizes in bytes.
struct Pieces {
  std::size_t bytes;
  std::size_t stride;
  std::size_t count;
  std::size_t pool_stride;
  std::size_t pools;
};

/// A range of addresses of which parts are backed by memory of the device.
///
/// The cache reserves addresses for its whole budget once and takes memory as it grows, so tensors
/// never move: nothing is copied when the cache grows, and what was bound to ONNX Runtime stays
/// bound. Copies are done in order with the runs of the model.
class PoolMemory {
 public:
  PoolMemory() = default;
  PoolMemory(const PoolMemory&) = delete;
  PoolMemory& operator=(const PoolMemory&) = delete;
  virtual ~PoolMemory() = default;

  /// The first address, of the device's memory.
  [[nodiscard]] virtual std::byte* data() const noexcept = 0;

  /// Whether the host can read and write it.
  [[nodiscard]] virtual bool on_host() const noexcept = 0;

  /// Backs [begin, end) with memory, all of it now. Offsets are rounded outwards to whole pages;
  /// what is backed already stays as it is.
  /// @throws Error out_of_memory
  virtual void commit(std::size_t begin, std::size_t end) = 0;

  /// Gives the whole pages within [begin, end) back to the system; their contents are lost.
  virtual void decommit(std::size_t begin, std::size_t end) noexcept = 0;

  /// Copies pieces within the memory.
  virtual void copy(std::size_t to, std::size_t from, const Pieces& pieces) noexcept = 0;

  /// Sets all bits of pieces, which is a NaN in every element type.
  virtual void fill_with_nan(std::size_t at, const Pieces& pieces) noexcept = 0;

  /// Copies to and from the host; what is read was computed by the runs before.
  /// @throws Error run_failed
  virtual void read(std::size_t from, std::byte* to, std::size_t bytes) = 0;
  virtual void write(std::size_t to, const std::byte* from, std::size_t bytes) = 0;
};

}  // namespace kvcache::device
