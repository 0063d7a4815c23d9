// What the host works out of a step's inputs before it is the step's turn.
#pragma once

#include <cuda_runtime_api.h>

#include <bit>
#include <cstddef>

#include "base/device_memory_fault.hpp"
#include "plan/cuda/rows_lists.hpp"

namespace kvcache::plan {

/// Page-locked memory that the device reads.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory() { cudaFreeHost(data_); }

  /// Room for `bytes`; what was there is lost. False where there is no memory.
  [[nodiscard]] bool resize(std::size_t bytes) noexcept {
    if (bytes <= capacity_) {
      return true;
    }
    cudaFreeHost(data_);
    data_ = nullptr;
    capacity_ = std::bit_ceil(bytes);
    if (device_memory_is_refused() ||
        cudaHostAlloc(&data_, capacity_, cudaHostAllocDefault) != cudaSuccess) {
      cudaGetLastError();  // seen to
      data_ = nullptr;
      capacity_ = 0;
    }
    return data_ != nullptr;
  }
  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
  std::size_t capacity_ = 0;
};

/// Of one run at a time: not to be changed until its end has been seen.
struct PreparedStep {
  RowsLists lists;
  PinnedMemory memory;  // where the device finds them
};

}  // namespace kvcache::plan
