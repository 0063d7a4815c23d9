// What a run on the GPU writes: rows of values, brought to the host when they are asked for, or
// with the run where they are short.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
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
    const std::size_t bytes = rows * row_bytes();
    brought_ = false;
    fit(memory_, bytes, purpose);
    comes_along_ = row_bytes() <= kShortRow && bytes <= kMostBrought;
    if (comes_along_) {
      fit(twin_, bytes, purpose);
    }
    on_host_.clear();
    on_host_.resize(rows);
  }

  /// To be called before they are written again.
  void forget() noexcept {
    brought_ = false;
    for (std::vector<float>& row : on_host_) {
      row.clear();
    }
  }

  /// Puts the copy of short rows behind what writes them, so that no reader has to wait for runs
  /// that came after it. Nothing where the rows are long.
  void enqueue_copy(CudaStream& stream) {
    if (comes_along_) {
      check_cuda(cudaMemcpyAsync(twin_.data(), memory_.data(), on_host_.size() * row_bytes(),
                                 cudaMemcpyDeviceToHost, stream.get()),
                 "copying a run's results to the host");
    }
  }

  /// Memory of the host for all rows, where they are short; otherwise null.
  [[nodiscard]] std::byte* twin() noexcept { return comes_along_ ? twin_.data() : nullptr; }

  /// Whether enqueue_copy() does anything.
  [[nodiscard]] bool come_along() const noexcept { return comes_along_; }

  /// The run that enqueue_copy() was called for has ended.
  void set_brought() noexcept { brought_ = comes_along_; }

  /// As float32. Takes the stream's lock where the row is still on the GPU.
  [[nodiscard]] std::span<const float> row(std::size_t row, CudaStream& stream) {
    const std::scoped_lock reading(mutexes_[row % mutexes_.size()]);
    std::vector<float>& found = on_host_[row];
    if (found.empty() && brought_) {
      to_float32(type_, twin_.data() + row * row_bytes(), size_, found);
    } else if (found.empty()) {
      std::vector<std::byte> bytes(row_bytes());
      const auto lock = stream.lock();
      check_cuda(cudaMemcpyAsync(bytes.data(), at(row), bytes.size(), cudaMemcpyDeviceToHost,
                                 stream.get()),
                 "copying a run's results to the host");
      stream.wait();
      to_float32(type_, bytes.data(), size_, found);
    }
    return found;
  }

  [[nodiscard]] std::byte* at(std::size_t row) noexcept {
    return memory_.data() + row * row_bytes();
  }
  [[nodiscard]] std::size_t row_bytes() const noexcept { return size_ * data_type_size(type_); }
  [[nodiscard]] std::size_t capacity() const noexcept { return memory_.size(); }  // in bytes

 private:
  static constexpr std::size_t kShortRow = std::size_t{4} << 10;  // a policy's logits, a value
  static constexpr std::size_t kMostBrought = std::size_t{1} << 20;

  DataType type_;
  std::size_t size_;
  CudaBuffer<BufferPlace::gpu> memory_;
  CudaBuffer<BufferPlace::host> twin_;
  bool comes_along_ = false;
  std::atomic<bool> brought_{false};
  // Of the rows below, each of some of them: the threads whose run this was read at the same time.
  std::array<std::mutex, 32> mutexes_;
  std::vector<std::vector<float>> on_host_;  // [rows][size], empty until asked for
};

}  // namespace kvcache::device
