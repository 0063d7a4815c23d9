// A file of weights in memory, on huge pages where that can be had.
#pragma once

#include <cstddef>
#include <filesystem>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvcache/options.hpp"

namespace kvcache::ops {

/// The bytes of a file at a multiple of 2 MiB: mapped, or copied into huge pages. Move-only (RAII).
///
/// They are there once wait() has returned; the first ones can be used while the rest is read.
///
/// Decoding reads all weights once per token, and small pages cost it 10 to 15 %. A mapping is made
/// of huge pages where the system's cache holds the file in pieces of 2 MiB and addresses fit them.
class WeightFile {
 public:
  /// Begins to copy with `num_threads` threads. What is mapped shows later changes of the file.
  /// @throws Error model_not_found when the file cannot be opened; std::bad_alloc
  WeightFile(const std::filesystem::path& path, WeightMemory memory, int num_threads);

  /// Waits until the first `end` bytes are there. For any number of threads.
  /// @throws Error model_not_found when the file cannot be read
  void wait(std::size_t end) const;
  void wait() const { wait(size_); }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// The file as file_at() names it; empty where the system does not tell.
  [[nodiscard]] const std::string& file() const noexcept { return file_; }

 private:
  class Reading;
  struct Unmap {
    std::size_t size;
    void operator()(void* addresses) const noexcept;
  };

  std::unique_ptr<void, Unmap> addresses_;  // around data_
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string file_;
  std::shared_ptr<Reading> reading_;        // null for an empty file
  std::vector<std::future<void>> readers_;  // last: they end before what they write to does
};

}  // namespace kvcache::ops
