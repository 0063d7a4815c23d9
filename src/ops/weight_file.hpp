// A file of weights in memory, on huge pages where that can be had.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "kvcache/options.hpp"

namespace kvcache::ops {

/// The bytes of a file at a multiple of 2 MiB: mapped, or copied into huge pages. Move-only (RAII).
///
/// Decoding reads all weights once per token, and small pages cost it 10 to 15 %. A mapping is made
/// of huge pages where the system's cache holds the file in pieces of 2 MiB and addresses fit them.
class WeightFile {
 public:
  /// Copies with `num_threads` threads. What is mapped shows later changes of the file.
  /// @throws Error model_not_found when the file cannot be read; std::bad_alloc
  WeightFile(const std::filesystem::path& path, WeightMemory memory, int num_threads);

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// The file as file_at() names it; empty where the system does not tell.
  [[nodiscard]] const std::string& file() const noexcept { return file_; }

 private:
  struct Unmap {
    std::size_t size;
    void operator()(void* addresses) const noexcept;
  };

  std::unique_ptr<void, Unmap> addresses_;  // around data_
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string file_;
};

}  // namespace kvcache::ops
