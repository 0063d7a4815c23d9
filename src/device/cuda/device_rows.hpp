// What a run on the GPU writes: rows of values, brought to the host when they are asked for.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "device/cuda/cuda_buffer.hpp"
#include "device/cuda/cuda_error.hpp"
#include "device/cuda/cuda_stream.hpp"
#include "device/to_float32.hpp"
#include "kvcache/types.hpp"

namespace kvcache::device {

/// [rows, size] of a type, in the GPU's memory.
class DeviceRows {
 public:
  DeviceRows(DataType type, std::size_t size) : type_(type), size_(size) {}

  /// @throws Error out_of_memory, of memory for `purpose`
  void resize(std::size_t rows, const char* purpose) {
    if (memory_.size() < rows * row_bytes()) {
      memory_ = {};  // the old memory first
      memory_ = {rows * row_bytes(), purpose};
    }
    on_host_.clear();
    on_host_.resize(rows);
  }

  /// To be called before they are written again.
  void forget() noexcept {
    for (std::vector<float>& row : on_host_) {
      row.clear();
    }
  }

  /// As float32; under the stream's lock.
  [[nodiscard]] std::span<const float> row(std::size_t row, CudaStream& stream) {
    std::vector<float>& found = on_host_[row];
    if (found.empty()) {
      std::vector<std::byte> bytes(row_bytes());
      check_cuda(cudaMemcpyAsync(bytes.data(), at(row), bytes.size(), cudaMemcpyDeviceToHost,
                                 stream.get()),
                 "copying a run's results to the host");
      stream.wait();
      found = to_float32(type_, bytes.data(), size_);
    }
    return found;
  }

  [[nodiscard]] std::byte* at(std::size_t row) noexcept {
    return memory_.data() + row * row_bytes();
  }
  [[nodiscard]] std::size_t row_bytes() const noexcept { return size_ * data_type_size(type_); }
  [[nodiscard]] std::size_t capacity() const noexcept { return memory_.size(); }  // in bytes

 private:
  DataType type_;
  std::size_t size_;
  CudaBuffer<BufferPlace::gpu> memory_;
  std::vector<std::vector<float>> on_host_;  // [rows][size], empty until asked for
};

}  // namespace kvcache::device
