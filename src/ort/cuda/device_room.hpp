// What all CUDA nodes of a model share.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/cuda/matrix_product.hpp"

namespace kvcache::ort {

/// The device's size, its matrix products, and memory for results that no other node sees. Its
/// nodes run one after the other, on one stream.
class DeviceRoom {
 public:
  DeviceRoom();
  DeviceRoom(const DeviceRoom&) = delete;
  DeviceRoom& operator=(const DeviceRoom&) = delete;
  ~DeviceRoom();

  [[nodiscard]] int multiprocessors() const noexcept { return multiprocessors_; }
  [[nodiscard]] kernels::MatrixProduct& products() noexcept { return products_; }

  /// At least `bytes`, whose contents last until the next call. What was given out once stays
  /// allocated: a captured run may use it.
  /// @throws std::runtime_error
  void* scratch(std::size_t bytes);

 private:
  int multiprocessors_ = 0;
  kernels::MatrixProduct products_;
  std::vector<void*> scratches_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace kvcache::ort
