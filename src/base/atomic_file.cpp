#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

namespace kvcache {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = std::size_t{256} << 10;
constexpr int kMaxLinks = 40;  // as many as Linux follows

[[noreturn]] void throw_reason(const fs::path& path, const std::error_code& reason) {
  throw std::system_error(reason, fmt::format("cannot write {}", path.string()));
}

[[noreturn]] void throw_errno(const fs::path& path, int reason = errno) {
  throw_reason(path, {reason, std::generic_category()});
}

fs::path directory_of(const fs::path& path) {
  return path.parent_path().empty() ? fs::path(".") : path.parent_path();
}

/// Where symbolic links lead, a file or the place of one to be made. Nothing for links of /proc
/// (/dev/stdout is one), which lead to open files and not to names.
std::optional<fs::path> follow_links(const fs::path& given) {
  fs::path path = given;
  for (int i = 0; i < kMaxLinks; ++i) {
    std::error_code no_link;
    const fs::path next = fs::read_symlink(path, no_link);
    if (no_link) {
      return path;
    }
    struct statfs file_system {};
    if (::statfs(directory_of(path).c_str(), &file_system) == 0 &&
        file_system.f_type == PROC_SUPER_MAGIC) {
      return std::nullopt;
    }
    path = directory_of(path) / next;  // or `next`, where that begins with /
  }
  throw_errno(given, ELOOP);
}

/// What the new file takes over from the one that it replaces.
void keep_mode_and_owner(int descriptor, const struct stat& replaced) {
  // Who is not root may give a file to nobody else: it stays the process's then.
  [[maybe_unused]] const bool kept =
      ::fchown(descriptor, replaced.st_uid, replaced.st_gid) == 0 ||
      ::fchown(descriptor, static_cast<uid_t>(-1), replaced.st_gid) == 0;
  ::fchmod(descriptor, replaced.st_mode & 0777U);
}

/// A pipe that nobody reads is refused: to wait for a reader might be for ever.
FileDescriptor open_device(const fs::path& path) {
  FileDescriptor device(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!device.is_open() && errno == ENXIO && fs::is_fifo(path)) {
    throw std::system_error(
        ENXIO, std::generic_category(),
        fmt::format("cannot write {}, a pipe that nobody reads yet", path.string()));
  }
  if (!device.is_open()) {  // such as a directory
    throw_errno(path);
  }
  const int flags = ::fcntl(device.get(), F_GETFL);
  ::fcntl(device.get(), F_SETFL, flags & ~O_NONBLOCK);
  return device;
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  buffer_.reserve(kBufferBytes);
  struct stat there {};
  const bool exists = ::stat(path_.c_str(), &there) == 0;
  if (!exists && errno != ENOENT) {
    throw_errno(path_);
  }
  const std::optional<fs::path> target = follow_links(path_);
  if (exists && (!S_ISREG(there.st_mode) || !target)) {
    device_ = open_device(path_);
    return;
  }
  if (!target || !target->has_filename()) {
    throw_errno(path_, ENOENT);
  }
  if (exists && ::faccessat(AT_FDCWD, path_.c_str(), W_OK, AT_EACCESS) != 0) {
    throw_errno(path_);
  }
  target_ = *target;
  try {
    file_ = std::make_unique<TemporaryFile>(directory_of(target_));
  } catch (const std::system_error& error) {
    throw_reason(path_, error.code());
  }
  if (exists) {
    keep_mode_and_owner(file_->descriptor(), there);
  }
}

AtomicFile::~AtomicFile() = default;

int AtomicFile::descriptor() const noexcept { return file_ ? file_->descriptor() : device_.get(); }

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(),
                   bytes.begin() + static_cast<std::ptrdiff_t>(count));
    bytes = bytes.subspan(count);
    if (buffer_.size() == kBufferBytes) {
      flush();
    }
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::flush() {
  if (failure_ != 0) {
    throw_errno(path_, failure_);  // what is there now has a hole
  }
  for (std::span<const std::byte> left(buffer_); !left.empty();) {
    const ssize_t count = ::write(descriptor(), left.data(), left.size());
    if (count < 0 && errno != EINTR) {
      failure_ = errno;
      throw_errno(path_, failure_);
    }
    left = left.subspan(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }
  buffer_.clear();
}

void AtomicFile::commit() {
  flush();
  if (!file_) {
    return;
  }
  try {
    file_->publish(target_);
  } catch (const std::system_error& error) {
    throw_reason(path_, error.code());
  }
}

}  // namespace kvcache
