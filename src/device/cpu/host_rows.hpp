// What a run on the CPU writes: rows of values, read as float32.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "device/to_float32.hpp"
#include "kvcache/types.hpp"

namespace kvcache::device {

/// [rows, size] of a type; rows of another than float32 are converted when they are first read.
class HostRows {
 public:
  HostRows(DataType type, std::size_t size) : type_(type), size_(size) {}

  /// @throws std::bad_alloc
  void resize(std::size_t rows) {
    bytes_.resize(rows * row_bytes());
    converted_.clear();
    converted_.resize(type_ == DataType::float32 ? 0 : rows);
  }

  /// To be called before they are written again.
  void forget_converted() noexcept {
    for (std::vector<float>& row : converted_) {
      row.clear();
    }
  }

  /// One thread at a time, unless the type is float32.
  [[nodiscard]] std::span<const float> row(std::size_t row) {
    const std::byte* values = bytes_.data() + row * row_bytes();
    if (type_ == DataType::float32) {
      return {reinterpret_cast<const float*>(values), size_};
    }
    if (converted_[row].empty()) {
      to_float32(type_, values, size_, converted_[row]);
    }
    return converted_[row];
  }

  [[nodiscard]] std::size_t rows() const noexcept { return bytes_.size() / row_bytes(); }
  [[nodiscard]] std::size_t row_bytes() const noexcept { return size_ * data_type_size(type_); }
  [[nodiscard]] std::vector<std::byte>& bytes() noexcept { return bytes_; }
  [[nodiscard]] const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

 private:
  DataType type_;
  std::size_t size_;
  std::vector<std::byte> bytes_;
  std::vector<std::vector<float>> converted_;  // [rows][size], empty until asked for
};

}  // namespace kvcache::device
