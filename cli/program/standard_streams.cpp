#include "program/standard_streams.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <mutex>
#include <system_error>

namespace kvcache::cli {

void open_standard_descriptors() noexcept {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) {
      continue;
    }
    // open() takes the lowest free number, which is this one. The wrong way round: what is lost is
    // to be an error, as with a closed descriptor.
    const int flags = descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (::open("/dev/null", flags) < 0) {  // not there in every chroot
      static_cast<void>(::open("/", O_RDONLY | O_DIRECTORY));
    }
  }
}

namespace {

std::mutex status_line_mutex;
bool status_line_shown = false;

/// With the mutex held.
void remove_status_line() noexcept {
  if (status_line_shown) {
    status_line_shown = false;
    std::fputs("\r\033[K", stderr);
  }
}

}  // namespace

void show_status_line(std::string_view line) noexcept {
  const std::lock_guard lock(status_line_mutex);
  std::fputs("\r\033[K", stderr);
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
  status_line_shown = true;
}

void clear_status_line() noexcept {
  const std::lock_guard lock(status_line_mutex);
  remove_status_line();
  std::fflush(stderr);
}

void write_error_line(std::string_view line) noexcept {
  const std::lock_guard lock(status_line_mutex);
  remove_status_line();
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fputc('\n', stderr);
}

void flush_standard_output() {
  // The reason of an earlier failure is not known any more.
  const bool failed_before = std::ferror(stdout) != 0;
  errno = 0;
  if (std::fflush(stdout) != 0 || failed_before) {
    const int reason = errno != 0 ? errno : EIO;
    throw std::system_error(reason, std::generic_category(), "cannot write to standard output");
  }
}

}  // namespace kvcache::cli
