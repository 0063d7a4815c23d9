#include "base/temporary_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace kvcache {
namespace {

constexpr std::string_view kPrefix = ".kvcache-";
constexpr std::string_view kSuffix = ".tmp";
constexpr std::size_t kRandomDigits = 16;
constexpr mode_t kMode = 0666;  // less the process's mask, as of any new file

[[noreturn]] void throw_errno() { throw std::system_error(errno, std::generic_category()); }

std::string random_name() {
  std::random_device random;
  const std::uint64_t high = random();
  return fmt::format("{}{:016x}{}", kPrefix, high << 32U | random(), kSuffix);
}

bool is_temporary_name(std::string_view name) {
  return name.size() == kPrefix.size() + kRandomDigits + kSuffix.size() &&
         name.starts_with(kPrefix) && name.ends_with(kSuffix);
}

/// The lock goes with the descriptor, whoever ends the process. Whether nobody else has one; true
/// where the file system has no locks.
bool lock(int descriptor) {
  return ::flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/// The name by which the system finds an open file.
std::string name_of(int descriptor) { return fmt::format("/proc/self/fd/{}", descriptor); }

/// Removes a temporary file if nobody writes it.
void remove_if_stale(int directory, const char* name) {
  const FileDescriptor file(
      ::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat opened {};
  struct stat named {};
  const bool unused = file.is_open() && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0;
  // Between opening and locking it, its writer may have published it.
  if (unused && ::fstat(file.get(), &opened) == 0 && S_ISREG(opened.st_mode) &&
      ::fstatat(directory, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
      opened.st_ino == named.st_ino && opened.st_dev == named.st_dev) {
    ::unlinkat(directory, name, 0);
  }
}

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

/// Removes what killed processes left. It is no failure where that cannot be done.
void remove_stale_files(const std::filesystem::path& path) {
  const std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path.c_str()));
  if (directory == nullptr) {
    return;
  }
  while (const dirent* entry = ::readdir(directory.get())) {  // NOLINT(concurrency-mt-unsafe)
    if (is_temporary_name(entry->d_name)) {
      remove_if_stale(::dirfd(directory.get()), entry->d_name);
    }
  }
}

/// After a crash of the machine, the name might be lost and the old file be there, whole; where
/// the file system cannot flush names at all, that is all there is.
void flush_names(const std::filesystem::path& path) {
  const FileDescriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.is_open()) {
    ::fsync(directory.get());
  }
}

}  // namespace

TemporaryFile::TemporaryFile(std::filesystem::path directory) : directory_(std::move(directory)) {
  remove_stale_files(directory_);
  if (!create_without_name()) {
    create_with_name();
  }
}

TemporaryFile::~TemporaryFile() {
  if (!name_.empty()) {
    ::unlink(name_.c_str());
  }
}

bool TemporaryFile::create_without_name() {
#ifdef O_TMPFILE
  file_ = FileDescriptor(::open(directory_.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, kMode));
  return file_.is_open() && ::access(name_of(file_.get()).c_str(), F_OK) == 0 && lock(file_.get());
#else
  return false;
#endif
}

void TemporaryFile::create_with_name() {
  while (true) {
    std::filesystem::path name = directory_ / random_name();
    file_ = FileDescriptor(
        ::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, kMode));
    if (!file_.is_open()) {
      if (errno == EEXIST) {
        continue;
      }
      throw_errno();
    }
    name_ = std::move(name);  // which cannot fail: the file is there
    // Who looks for stale files may have found it before it was locked.
    struct stat status {};
    if (lock(file_.get()) && ::fstat(file_.get(), &status) == 0 && status.st_nlink > 0) {
      return;
    }
    ::unlink(name_.c_str());
    name_.clear();
  }
}

void TemporaryFile::give_temporary_name() {
  do {
    std::filesystem::path name = directory_ / random_name();
    if (::linkat(AT_FDCWD, name_of(file_.get()).c_str(), AT_FDCWD, name.c_str(),
                 AT_SYMLINK_FOLLOW) == 0) {
      name_ = std::move(name);  // which cannot fail: the file is there
      return;
    }
  } while (errno == EEXIST);
  throw_errno();
}

void TemporaryFile::publish(const std::filesystem::path& path) {
  if (::fsync(file_.get()) != 0) {
    throw_errno();
  }
  if (name_.empty()) {
    give_temporary_name();  // no call puts a file without a name in the place of another one
  }
  if (::rename(name_.c_str(), path.c_str()) != 0) {
    throw_errno();
  }
  name_.clear();
  flush_names(directory_);
}

}  // namespace kvcache
