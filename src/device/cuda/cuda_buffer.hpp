// Memory of the GPU and page-locked memory of the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "base/device_memory_fault.hpp"
#include "device/cuda/cuda_error.hpp"

namespace kvcache::device {

enum class BufferPlace { gpu, host };  // host: page-locked, the GPU can write it

/// Move-only (RAII).
template <BufferPlace kPlace>
class CudaBuffer {
 public:
  CudaBuffer() = default;
  /// @throws Error out_of_memory naming `purpose`
  CudaBuffer(std::size_t bytes, const char* purpose) : bytes_(bytes) {
    void* data = nullptr;
    check_cuda(device_memory_is_refused()   ? cudaErrorMemoryAllocation
               : kPlace == BufferPlace::gpu ? cudaMalloc(&data, bytes)
                                            : cudaHostAlloc(&data, bytes, cudaHostAllocDefault),
               purpose);
    data_ = static_cast<std::byte*>(data);
  }
  CudaBuffer(CudaBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  CudaBuffer& operator=(CudaBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~CudaBuffer() {
    if constexpr (kPlace == BufferPlace::gpu) {
      cudaFree(data_);
    } else {
      cudaFreeHost(data_);
    }
  }

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Makes a buffer one of so many bytes at least, and not of many more: what a shape needed should
/// not stay for all that come after it. What was there is lost.
/// @throws Error out_of_memory naming `purpose`
template <BufferPlace kPlace>
void fit(CudaBuffer<kPlace>& buffer, std::size_t bytes, const char* purpose) {
  constexpr std::size_t kWorthFreeing = std::size_t{1} << 20;  // it waits for the device
  const bool has_room = buffer.size() >= bytes;
  const bool wastes = buffer.size() > kWorthFreeing && buffer.size() / 2 > bytes;
  if (!has_room || wastes) {
    buffer = {};  // the old memory first
    if (bytes > 0) {
      buffer = {bytes, purpose};
    }
  }
}

}  // namespace kvcache::device
