// The cache's memory on the CPU.
#pragma once

#include "device/pool_memory.hpp"

namespace kvcache::device {

/// Address space that is mapped at once and backed page by page.
class ReservedMemory : public PoolMemory {
 public:
  /// Reserves `bytes` of address space; takes no memory.
  /// @throws Error out_of_memory
  explicit ReservedMemory(std::size_t bytes);
  ~ReservedMemory() override;

  [[nodiscard]] std::byte* data() const noexcept override { return data_; }
  [[nodiscard]] bool on_host() const noexcept override { return true; }
  void commit(std::size_t begin, std::size_t end) override;
  void decommit(std::size_t begin, std::size_t end) noexcept override;
  void copy(std::size_t to, std::size_t from, const Pieces& pieces) noexcept override;
  void fill_with_nan(std::size_t at, const Pieces& pieces) noexcept override;
  void read(std::size_t from, std::byte* to, std::size_t bytes) override;
  void write(std::size_t to, const std::byte* from, std::size_t bytes) override;

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace kvcache::device
