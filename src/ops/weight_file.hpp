// A file of weights in memory, on huge pages where that can be had.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "kvcache/options.hpp"

namespace kvcache::ops {

/// The bytes of a file, on 2 MiB: mapped, or copied into huge pages. Move-only (RAII).
///
/// Decoding reads all weights once per token, and the small pages of a mapping cost it 15 %. But
/// where the system's cache holds a file in pieces of 2 MiB, as it does after large writes to some
/// file systems, a mapping at a multiple of 2 MiB is made of huge pages and costs nothing at all.
class WeightFile {
 public:
  /// `automatic` maps the file and, where less than nine tenths of that lies on huge pages, copies
  /// it with `num_threads` threads. What was mapped shows later changes of the file.
  /// @throws Error model_not_found when the file cannot be read; std::bad_alloc
  WeightFile(const std::filesystem::path& path, WeightMemory memory, int num_threads);

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// The file as file_at() names it; empty where the system does not tell.
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  /// mapped or huge_pages.
  [[nodiscard]] WeightMemory memory() const noexcept { return memory_; }

 private:
  struct Unmap {
    std::size_t size;
    void operator()(void* addresses) const noexcept;
  };

  std::unique_ptr<void, Unmap> addresses_;  // around data_
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string file_;
  WeightMemory memory_ = WeightMemory::mapped;
};

}  // namespace kvcache::ops
