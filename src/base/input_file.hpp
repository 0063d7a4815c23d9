// Files that are read: opened and read to the end, with the system's own reason where that fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/file_descriptor.hpp"

namespace kvcache {

/// A file that is read from its beginning to its end.
class InputFile {
 public:
  /// @throws std::system_error with the system's reason
  explicit InputFile(const std::filesystem::path& path);

  /// The size of a regular file.
  /// @throws std::system_error where it is none, such as a directory or a pipe
  [[nodiscard]] std::uint64_t regular_size() const;

  /// Reads until `bytes` are full or the file ends; returns how many that were.
  /// @throws std::system_error
  std::size_t read(std::span<std::byte> bytes);

 private:
  FileDescriptor descriptor_;
};

/// All bytes of a file, which may be a pipe.
/// @throws std::system_error with the system's reason; EFBIG for more than `most` bytes
std::string read_file(const std::filesystem::path& path, std::size_t most);

}  // namespace kvcache
