#include "ort/cuda/device_room.hpp"

#include <algorithm>
#include <stdexcept>

#include "base/device_memory_fault.hpp"

namespace kvcache::ort {

DeviceRoom::DeviceRoom() {
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device) !=
          cudaSuccess) {
    throw std::runtime_error("the GPU does not tell its size");
  }
}

DeviceRoom::~DeviceRoom() {
  for (void* scratch : scratches_) {
    cudaFree(scratch);
  }
}

void* DeviceRoom::scratch(std::size_t bytes) {
  if (bytes > scratch_bytes_) {
    const std::size_t grown = std::max(bytes, 2 * scratch_bytes_);  // so that few are kept
    scratches_.reserve(scratches_.size() + 1);  // before there is something to lose
    void* data = nullptr;
    if (device_memory_is_refused() || cudaMalloc(&data, grown) != cudaSuccess) {
      cudaGetLastError();
      throw std::runtime_error("the GPU is out of memory for intermediate results");
    }
    scratches_.push_back(data);
    scratch_bytes_ = grown;
  }
  return scratches_.empty() ? nullptr : scratches_.back();
}

}  // namespace kvcache::ort
