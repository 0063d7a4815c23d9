#include "ops/weight_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <future>
#include <memory>
#include <new>
#include <vector>

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

/// Replaces reserved addresses by memory, and reads the file into it.
bool copy(const File& file, std::byte* data, int num_threads) {
  if (::mmap(data, file.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED) {
    return false;
  }
  ask_for_huge_pages(data, file.size());
  const std::size_t stride = kPart * static_cast<std::size_t>(num_threads);
  std::vector<std::future<void>> readers;
  for (std::size_t first = 0; first < std::min(stride, file.size()); first += kPart) {
    readers.push_back(std::async(std::launch::async, [&file, data, first, stride] {
      for (std::size_t offset = first; offset < file.size(); offset += stride) {
        file.read(data + offset, std::min(kPart, file.size() - offset), offset);
      }
    }));
  }
  for (std::future<void>& reader : readers) {
    reader.wait();
  }
  for (std::future<void>& reader : readers) {
    reader.get();
  }
  return true;
}

}  // namespace

void WeightFile::Unmap::operator()(void* addresses) const noexcept { ::munmap(addresses, size); }

WeightFile::WeightFile(const std::filesystem::path& path, WeightMemory memory, int num_threads) {
  const File file(path);
  size_ = file.size();
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

  bool done = map(file, data_);
  if (const auto place = done ? file_at(data_) : std::nullopt) {
    file_ = place->file;
  }
  if (done && memory == WeightMemory::mapped) {
    make_present(bytes());
  } else if (done) {
    done = copy(file, data_, num_threads);
  }
  if (!done) {
    throw std::bad_alloc();
  }
}

}  // namespace kvcache::ops
