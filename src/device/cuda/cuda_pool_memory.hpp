// The cache's memory on the GPU.
#pragma once

#include <cuda.h>

#include <memory>
#include <vector>

#include "device/cuda/cuda_stream.hpp"
#include "device/cuda/pending_copies.hpp"
#include "device/pool_memory.hpp"

namespace kvcache::device {

/// Addresses reserved in the GPU's virtual memory, backed in the driver's pages (2 MiB).
class CudaPoolMemory : public PoolMemory {
 public:
  /// @throws Error out_of_memory, run_failed
  CudaPoolMemory(std::size_t bytes, std::shared_ptr<CudaStream> stream);
  ~CudaPoolMemory() override;

  [[nodiscard]] std::byte* data() const noexcept override {
    return reinterpret_cast<std::byte*>(address_);
  }
  [[nodiscard]] bool on_host() const noexcept override { return false; }
  void commit(std::size_t begin, std::size_t end) override;
  void decommit(std::size_t begin, std::size_t end) noexcept override;
  void copy(std::size_t to, std::size_t from, const Pieces& pieces) noexcept override;
  void fill_with_nan(std::size_t at, const Pieces& pieces) noexcept override;
  void read(std::size_t from, std::byte* to, std::size_t bytes) override;
  void write(std::size_t to, const std::byte* from, std::size_t bytes) override;

 private:
  struct Driver;
  void give_back_page(std::size_t page) noexcept;

  std::shared_ptr<CudaStream> stream_;
  const Driver& driver_;
  std::size_t page_bytes_ = 0;
  std::size_t bytes_ = 0;
  CUdeviceptr address_ = 0;
  std::vector<CUmemGenericAllocationHandle> pages_;  // 0: not backed
  PendingCopies copies_;
};

}  // namespace kvcache::device
