#include "ops/weight_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <future>
#include <memory>
#include <new>
#include <utility>

#include "huge_pages.hpp"
#include "ops/memory_map.hpp"
#include "throw_error.hpp"

namespace kvcache::ops {
namespace {

constexpr std::size_t kPart = std::size_t{16} << 20;  // entered at once

[[noreturn]] void cannot_read(const std::filesystem::path& path, int reason) {
  throw_error(ErrorCode::model_not_found, "cannot read {}: {}", path.string(),
              std::strerror(reason));
}

class File {
 public:
  explicit File(const std::filesystem::path& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status {};
    if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
      const int reason = errno;
      close();
      cannot_read(path, reason);
    }
    if (!S_ISREG(status.st_mode)) {
      close();
      cannot_read(path, EISDIR);
    }
    size_ = static_cast<std::size_t>(status.st_size);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(); }

  [[nodiscard]] std::size_t size() const { return size_; }

  /// Replaces reserved addresses by the file; whether that was done.
  [[nodiscard]] bool map(std::byte* data) const {
    return ::mmap(data, size_, PROT_READ, MAP_PRIVATE | MAP_FIXED, descriptor_, 0) != MAP_FAILED;
  }

 private:
  void close() const {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }

  int descriptor_;
  std::size_t size_ = 0;
};

/// Enters pages in the page table, where the system can do that at once.
void enter_pages([[maybe_unused]] std::byte* data, [[maybe_unused]] std::size_t bytes) {
#ifdef MADV_POPULATE_READ
  ::madvise(data, bytes, MADV_POPULATE_READ);
#endif
}

}  // namespace

/// A mapped file whose pages a thread enters from the first to the last.
class WeightFile::Pages {
 public:
  explicit Pages(std::span<std::byte> mapped) : mapped_(mapped) {
    ask_for_huge_pages(mapped.data(), mapped.size());  // of what is not in the system's cache yet
    thread_ = std::async(std::launch::async, [this] { enter(); });
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { stopped_ = true; }

  void wait(std::size_t end) const {
    for (std::size_t entered = entered_; entered < end; entered = entered_) {
      entered_.wait(entered);
    }
  }

 private:
  void enter() {
    for (std::size_t at = 0; at < mapped_.size();) {
      const std::size_t count = std::min(kPart, mapped_.size() - at);
      if (!stopped_) {
        enter_pages(mapped_.data() + at, count);
      }
      at += count;
      entered_ = at;
      entered_.notify_all();
    }
  }

  std::span<std::byte> mapped_;
  std::atomic<bool> stopped_ = false;
  std::atomic<std::size_t> entered_ = 0;
  std::future<void> thread_;  // last: it ends before what it uses does
};

void WeightFile::Unmap::operator()(void* addresses) const noexcept { ::munmap(addresses, size); }

WeightFile::WeightFile(const std::filesystem::path& path) {
  const File file(path);
  if (file.size() == 0) {
    return;
  }
  std::size_t space = file.size() + 2 * kHugePage;
  void* addresses =
      ::mmap(nullptr, space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (addresses == MAP_FAILED) {
    throw std::bad_alloc();
  }
  addresses_ = {addresses, Unmap{space}};
  data_ = static_cast<std::byte*>(std::align(kHugePage, file.size(), addresses, space));
  if (!file.map(data_)) {
    throw std::bad_alloc();
  }
  size_ = file.size();
  if (const auto place = file_at(data_)) {
    file_ = place->file;
  }
  pages_ = std::make_shared<Pages>(std::span(data_, size_));
}

void WeightFile::wait(std::size_t end) const {
  if (pages_) {
    pages_->wait(end);
  }
}

void WeightFile::move_to_huge_pages(int num_threads) {
  if (pages_) {
    huge_pages_ =
        std::make_unique<HugePageCopy>(std::span(data_, size_), num_threads,
                                       [pages = pages_, size = size_] { pages->wait(size); });
  }
}

bool WeightFile::wait_for_huge_pages() const {
  return huge_pages_ != nullptr && huge_pages_->wait();
}

}  // namespace kvcache::ops
