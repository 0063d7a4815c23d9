#include "atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace kvcache {
namespace {

[[noreturn]] void throw_cannot_write(const std::filesystem::path& path) {
  throw std::system_error(errno, std::generic_category(),
                          fmt::format("cannot write {}", path.string()));
}

/// A name must not outlive a crash that the content did not.
bool flush_to_disk(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    return false;
  }
  const bool flushed = ::fsync(descriptor) == 0;
  ::close(descriptor);
  return flushed;
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path)
    : path_(std::move(path)), temporary_(path_.string() + fmt::format(".{}.tmp", ::getpid())) {
  if (std::filesystem::is_directory(path_)) {
    errno = EISDIR;
    throw_cannot_write(path_);
  }
  stream_.open(temporary_, std::ios::binary | std::ios::trunc);
  if (!stream_) {
    throw_cannot_write(path_);
  }
}

AtomicFile::~AtomicFile() {
  stream_.close();
  std::error_code ignored;  // after commit() there is nothing to remove
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::commit() {
  stream_.close();
  if (!stream_ || !flush_to_disk(temporary_)) {
    throw_cannot_write(path_);
  }
  std::error_code error;
  std::filesystem::rename(temporary_, path_, error);
  if (error) {
    throw std::system_error(error, fmt::format("cannot write {}", path_.string()));
  }
}

}  // namespace kvcache
