// Memory of the device that a fused model keeps.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "base/device_memory_fault.hpp"
#include "plan/cuda/not_fused.hpp"

namespace kvcache::plan {

/// @throws NotFused where there is none
class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes) {
    require_success(
        device_memory_is_refused() ? cudaErrorMemoryAllocation : cudaMalloc(&data_, bytes),
        "taking memory");
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { cudaFree(data_); }

  template <typename T>
  [[nodiscard]] T* as() const noexcept {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

}  // namespace kvcache::plan
