#include "base/input_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace kvcache {
namespace {

constexpr std::size_t kPiece = std::size_t{64} << 10;

[[noreturn]] void throw_reason(int reason) {
  throw std::system_error(reason, std::generic_category());
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)) {
  if (!descriptor_.is_open()) {
    throw_reason(errno);
  }
}

std::uint64_t InputFile::regular_size() const {
  struct stat status {};
  if (::fstat(descriptor_.get(), &status) != 0) {
    throw_reason(errno);
  }
  if (S_ISDIR(status.st_mode)) {
    throw_reason(EISDIR);
  }
  if (!S_ISREG(status.st_mode)) {
    throw_reason(ESPIPE);
  }
  return static_cast<std::uint64_t>(status.st_size);
}

std::size_t InputFile::read(std::span<std::byte> bytes) {
  std::size_t count = 0;
  while (count < bytes.size()) {
    const ssize_t got = ::read(descriptor_.get(), bytes.data() + count, bytes.size() - count);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      throw_reason(errno);
    }
    if (got == 0) {
      break;
    }
    count += static_cast<std::size_t>(got);
  }
  return count;
}

std::string read_file(const std::filesystem::path& path, std::size_t most) {
  InputFile file(path);
  std::string text;
  std::size_t size = 0;
  do {
    text.resize(size + kPiece);
    size += file.read(std::as_writable_bytes(std::span(text).subspan(size)));
    if (size > most) {
      throw_reason(EFBIG);
    }
  } while (size == text.size());
  text.resize(size);
  return text;
}

}  // namespace kvcache
