#include "ops/weight_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "huge_pages.hpp"
#include "ops/memory_map.hpp"
#include "throw_error.hpp"

namespace kvcache::ops {
namespace {

constexpr std::size_t kPart = std::size_t{4} << 20;  // read at once

[[noreturn]] void cannot_read(const std::filesystem::path& path, int reason) {
  throw_error(ErrorCode::model_not_found, "cannot read {}: {}", path.string(),
              std::strerror(reason));
}

class File {
 public:
  explicit File(const std::filesystem::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
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

  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] std::size_t size() const { return size_; }

  /// Reads `bytes` from `offset` on.
  void read(std::byte* to, std::size_t bytes, std::size_t offset) const {
    while (bytes > 0) {
      const ssize_t count = ::pread(descriptor_, to, bytes, static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) {
        continue;
      }
      if (count <= 0) {
        cannot_read(path_, count < 0 ? errno : EIO);  // it has become shorter
      }
      to += count;
      bytes -= static_cast<std::size_t>(count);
      offset += static_cast<std::size_t>(count);
    }
  }

 private:
  void close() const {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }

  const std::filesystem::path& path_;
  int descriptor_;
  std::size_t size_ = 0;
};

/// Replaces reserved addresses by the file.
bool map(const File& file, std::byte* data) {
  return ::mmap(data, file.size(), PROT_READ, MAP_PRIVATE | MAP_FIXED, file.descriptor(), 0) !=
         MAP_FAILED;
}

/// Maps all pages now, where the system can do that at once, and reads those that are not in its
/// cache as huge ones.
void make_present(std::span<const std::byte> mapped) {
  void* data = const_cast<std::byte*>(mapped.data());
  ask_for_huge_pages(data, mapped.size());
#ifdef MADV_POPULATE_READ
  ::madvise(data, mapped.size(), MADV_POPULATE_READ);
#endif
}

/// Replaces reserved addresses by memory.
bool take_memory(std::byte* data, std::size_t bytes) {
  if (::mmap(data, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
      MAP_FAILED) {
    return false;
  }
  ask_for_huge_pages(data, bytes);
  return true;
}

}  // namespace

/// A file that threads read: reader i the parts i, i + readers, i + 2 · readers, …
class WeightFile::Reading {
 public:
  explicit Reading(const std::filesystem::path& path) : path_(path), file_(path_) {}

  [[nodiscard]] const File& file() const noexcept { return file_; }

  /// How many readers there will be.
  void begin(std::size_t readers) { parts_done_ = std::vector<std::atomic<std::size_t>>(readers); }

  void map_pages(std::span<const std::byte> mapped) {
    make_present(mapped);
    finish(0);
  }

  /// The work of one reader.
  void read(std::size_t reader, std::byte* data) {
    try {
      const std::size_t stride = kPart * parts_done_.size();
      for (std::size_t at = kPart * reader; at < file_.size(); at += stride) {
        file_.read(data + at, std::min(kPart, file_.size() - at), at);
        parts_done_[reader].fetch_add(1);
        parts_done_[reader].notify_all();
      }
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      failure_ = std::current_exception();
    }
    finish(reader);
  }

  void wait(std::size_t end) {
    const std::size_t parts = (end + kPart - 1) / kPart;
    const std::size_t readers = parts_done_.size();
    for (std::size_t reader = 0; reader < std::min(readers, parts); ++reader) {
      const std::size_t wanted = (parts - reader + readers - 1) / readers;
      for (std::size_t done = parts_done_[reader]; done < wanted; done = parts_done_[reader]) {
        parts_done_[reader].wait(done);
      }
    }
    const std::scoped_lock lock(mutex_);
    if (failure_) {
      std::rethrow_exception(failure_);
    }
  }

 private:
  /// Nothing more will come of this reader.
  void finish(std::size_t reader) {
    parts_done_[reader] = std::numeric_limits<std::size_t>::max();
    parts_done_[reader].notify_all();
  }

  std::filesystem::path path_;
  File file_;
  std::vector<std::atomic<std::size_t>> parts_done_;  // by each reader
  std::mutex mutex_;
  std::exception_ptr failure_;
};

void WeightFile::Unmap::operator()(void* addresses) const noexcept { ::munmap(addresses, size); }

WeightFile::WeightFile(const std::filesystem::path& path, WeightMemory memory, int num_threads) {
  auto reading = std::make_shared<Reading>(path);
  size_ = reading->file().size();
  if (size_ == 0) {
    return;
  }
  std::size_t space = size_ + 2 * kHugePage;
  void* addresses =
      ::mmap(nullptr, space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (addresses == MAP_FAILED) {
    throw std::bad_alloc();
  }
  addresses_ = {addresses, Unmap{space}};
  data_ = static_cast<std::byte*>(std::align(kHugePage, size_, addresses, space));

  if (!map(reading->file(), data_)) {
    throw std::bad_alloc();
  }
  if (const auto place = file_at(data_)) {
    file_ = place->file;
  }
  reading_ = std::move(reading);
  if (memory == WeightMemory::mapped) {
    reading_->begin(1);
    readers_.push_back(std::async(std::launch::async, [reading = reading_, mapped = bytes()] {
      reading->map_pages(mapped);
    }));
    return;
  }
  if (!take_memory(data_, size_)) {
    throw std::bad_alloc();
  }
  const std::size_t parts = (size_ + kPart - 1) / kPart;
  const std::size_t readers = std::min(static_cast<std::size_t>(num_threads), parts);
  reading_->begin(readers);
  for (std::size_t reader = 0; reader < readers; ++reader) {
    readers_.push_back(std::async(std::launch::async, [reading = reading_, reader, data = data_] {
      reading->read(reader, data);
    }));
  }
}

void WeightFile::wait(std::size_t end) const {
  if (reading_) {
    reading_->wait(end);
  }
}

}  // namespace kvcache::ops
