// The pages of a file of weights, brought into memory by threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <future>
#include <memory>
#include <span>
#include <vector>

namespace kvcache::weights {

/// A regular file that is open for reading. Not copyable (RAII).
class OpenFile {
 public:
  /// @throws Error model_not_found with the system's reason; std::system_error where the process
  ///         has too many files open
  explicit OpenFile(const std::filesystem::path& path);
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile();

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  /// When it was opened.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::size_t size_ = 0;
};

/// The bytes of a file, from a multiple of 2 MiB on: mapped, their pages being entered in the page
/// table, or read into huge pages. Not copyable (RAII).
class WeightPages {
 public:
  enum class Way { map, read };

  /// Begins, from the first byte to the last; a mapping with one thread, for the system does the
  /// work. The file must stay open.
  /// @throws std::bad_alloc; std::system_error when there is no thread
  WeightPages(const OpenFile& file, Way way, int num_threads);
  WeightPages(const WeightPages&) = delete;
  WeightPages& operator=(const WeightPages&) = delete;
  ~WeightPages();

  /// Waits until the first `end` bytes are there. For any number of threads.
  /// @throws Error digest_mismatch when they could not be read
  void wait(std::size_t end) const;

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  struct Unmap {
    std::size_t size;
    void operator()(void* addresses) const noexcept;
  };
  enum class Part : unsigned char { awaited, there, failed };

  void reserve();
  void bring_parts();
  [[nodiscard]] Part bring(std::span<std::byte> part, std::size_t offset);

  const OpenFile& file_;
  Way way_;
  std::unique_ptr<void, Unmap> addresses_;  // around bytes_
  std::span<std::byte> bytes_;
  std::vector<std::atomic<Part>> parts_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<int> failure_ = 0;  // of a read: the system's reason; 0 where the file just ended
  std::atomic<bool> stopped_ = false;
  std::vector<std::future<void>> threads_;  // last: they end before what they use does
};

}  // namespace kvcache::weights
