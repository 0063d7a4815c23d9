// Inputs of runs on their way to the device.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

#include "plan/cuda/device_memory.hpp"
#include "plan/cuda/not_fused.hpp"

namespace kvcache::plan {

/// One place on the device, where the stream's order keeps runs apart, and several on the host,
/// each of which is written to when its last copy has gone.
class SentInputs {
 public:
  /// @throws NotFused where there is no memory
  explicit SentInputs(std::size_t capacity) : capacity_(capacity), on_device_(capacity) {
    for (Place& place : places_) {
      require_success(cudaHostAlloc(&place.memory, capacity, cudaHostAllocDefault),
                      "taking memory of the host");
      require_success(cudaEventCreateWithFlags(&place.sent, cudaEventDisableTiming),
                      "making an event");
    }
  }
  SentInputs(const SentInputs&) = delete;
  SentInputs& operator=(const SentInputs&) = delete;

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] const std::byte* on_device() const noexcept { return on_device_.as<std::byte>(); }

  /// Puts what `write` writes to the host's memory, `bytes` of it, into the stream.
  template <typename Write>
  cudaError_t send(std::size_t bytes, const Write& write, cudaStream_t stream) {
    Place& place = places_[next_];
    next_ = (next_ + 1) % places_.size();
    cudaError_t error = cudaEventSynchronize(place.sent);
    if (error != cudaSuccess) {
      return error;
    }
    write(static_cast<std::byte*>(place.memory));
    error =
        cudaMemcpyAsync(on_device_.as<void>(), place.memory, bytes, cudaMemcpyHostToDevice, stream);
    return error != cudaSuccess ? error : cudaEventRecord(place.sent, stream);
  }

 private:
  struct Place {
    Place() = default;
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
      if (sent != nullptr) {
        cudaEventDestroy(sent);
      }
      cudaFreeHost(memory);
    }

    void* memory = nullptr;
    cudaEvent_t sent = nullptr;
  };

  std::size_t capacity_;
  DeviceMemory on_device_;
  std::array<Place, 4> places_{};
  std::size_t next_ = 0;
};

}  // namespace kvcache::plan
