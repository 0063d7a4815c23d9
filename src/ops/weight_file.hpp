// A file of weights in memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "ops/huge_page_copy.hpp"

namespace kvcache::ops {

/// The bytes of a file at a multiple of 2 MiB: mapped, and on request moved into huge pages while
/// they are in use. Move-only (RAII).
///
/// Decoding reads all weights once per token, and small pages cost it 10 to 15 %. A mapping is made
/// of huge pages only where the system's cache holds the file in pieces of 2 MiB.
class WeightFile {
 public:
  /// Maps the file and begins to enter its pages in the page table. It must not become shorter as
  /// long as it is mapped, and later changes of it show.
  /// @throws Error model_not_found when the file cannot be opened; std::bad_alloc
  explicit WeightFile(const std::filesystem::path& path);

  /// Waits until the pages of the first `end` bytes are entered: they can be read at any time, but
  /// then without a page fault each. For any number of threads.
  void wait(std::size_t end) const;

  /// Begins to move all bytes into huge pages of the process's own, with `num_threads` threads.
  /// Where the system can't, they stay mapped. Once.
  void move_to_huge_pages(int num_threads);
  /// Waits for that. Whether all of them are there now.
  [[nodiscard]] bool wait_for_huge_pages() const;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// The file as file_at() names it; empty where the system does not tell.
  [[nodiscard]] const std::string& file() const noexcept { return file_; }

 private:
  class Pages;
  struct Unmap {
    std::size_t size;
    void operator()(void* addresses) const noexcept;
  };

  std::unique_ptr<void, Unmap> addresses_;  // around data_
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string file_;
  std::shared_ptr<Pages> pages_;              // null for an empty file
  std::unique_ptr<HugePageCopy> huge_pages_;  // last: its threads end before what they copy does
};

}  // namespace kvcache::ops
