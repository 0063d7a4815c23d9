// Tests that need a GPU: skipped visibly where there is none, unless KVCACHE_REQUIRE_GPU=1.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::test {

class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) {
      return;
    }
    const std::string reason = std::string("no GPU: ") + cudaGetErrorString(error);
    if (environment_or("KVCACHE_REQUIRE_GPU", 0) != 0) {
      FAIL() << reason << ", and KVCACHE_REQUIRE_GPU is set";
    }
    GTEST_SKIP() << reason;
  }
};

inline void check_cuda(cudaError_t error) {
  if (error != cudaSuccess) {
    throw std::runtime_error(cudaGetErrorString(error));
  }
}

/// A copy of a vector in device memory.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& host) : size_(host.size()) {
    if (size_ > 0) {
      check_cuda(cudaMalloc(&data_, size_ * sizeof(T)));
      check_cuda(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
    }
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  [[nodiscard]] T* data() const noexcept { return static_cast<T*>(data_); }

  [[nodiscard]] std::vector<T> to_host() const {
    std::vector<T> host(size_);
    check_cuda(cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  std::size_t size_;
  void* data_ = nullptr;
};

/// Page-locked memory of the host, which kernels write.
template <typename T>
class HostArray {
 public:
  explicit HostArray(std::size_t size) {
    check_cuda(cudaHostAlloc(&data_, size * sizeof(T), cudaHostAllocDefault));
  }
  HostArray(const HostArray&) = delete;
  HostArray& operator=(const HostArray&) = delete;
  ~HostArray() { cudaFreeHost(data_); }

  [[nodiscard]] T* data() const noexcept { return static_cast<T*>(data_); }

 private:
  void* data_ = nullptr;
};

inline int multiprocessors_of_gpu() {
  int count = 0;
  check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0));
  return count;
}

}  // namespace kvcache::test
