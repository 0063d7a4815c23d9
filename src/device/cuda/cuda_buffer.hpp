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

}  // namespace kvcache::device
