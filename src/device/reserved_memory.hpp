// Memory whose addresses are fixed before it is taken.
#pragma once

#include <cstddef>

namespace kvcache::device {

/// A range of addresses of which parts are backed by memory.
///
/// The cache reserves addresses for its whole budget once and takes memory as it grows, so tensors
/// never move: nothing is copied when the cache grows, and what was bound to ONNX Runtime stays
/// bound. Move-only (RAII).
class ReservedMemory {
 public:
  /// Reserves `bytes` of address space; takes no memory.
  /// @throws Error out_of_memory
  explicit ReservedMemory(std::size_t bytes);
  ReservedMemory(ReservedMemory&& other) noexcept;
  ReservedMemory& operator=(ReservedMemory&& other) noexcept;
  ~ReservedMemory();

  /// Backs [begin, end) with memory, all of it now: later writes meet no page fault. Offsets are
  /// rounded outwards to whole pages; what is backed already stays as it is.
  /// @throws Error out_of_memory
  void commit(std::size_t begin, std::size_t end);

  /// Gives the whole pages within [begin, end) back to the system; their contents are lost.
  void decommit(std::size_t begin, std::size_t end) noexcept;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace kvcache::device
