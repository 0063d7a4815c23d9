#include "device/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "throw_error.hpp"

namespace kvcache::device {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const auto fail = [&path](int reason) {
    throw_error(ErrorCode::state_invalid, "cannot read {}: {}", path.string(),
                std::strerror(reason));
  };
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    fail(errno);
  }
  struct stat status {};
  int reason = ::fstat(descriptor, &status) == 0 ? 0 : errno;
  if (reason == 0 && !S_ISREG(status.st_mode)) {
    reason = EISDIR;
  }
  if (reason == 0 && status.st_size > 0) {
    int flags = MAP_PRIVATE;
#ifdef MAP_POPULATE
    flags |= MAP_POPULATE;  // all of it is read at once
#endif
    size_ = static_cast<std::size_t>(status.st_size);
    address_ = ::mmap(nullptr, size_, PROT_READ, flags, descriptor, 0);
    reason = address_ == MAP_FAILED ? errno : 0;
  }
  ::close(descriptor);
  if (reason != 0) {
    fail(reason);
  }
}

MappedFile::~MappedFile() {
  if (size_ > 0) {
    ::munmap(address_, size_);
  }
}

}  // namespace kvcache::device
