// Output files that are either whole or not there.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/file_descriptor.hpp"
#include "base/temporary_file.hpp"

namespace kvcache {

/// A file that appears under its name only when commit() is called; given up before that, it was
/// never there, and what was there before stays. Of several that are written to one name at once,
/// by threads or processes, the last one to be committed stays; each is whole.
///
/// A symbolic link is followed, so that the file it leads to is replaced. A device, pipe or socket
/// is written to as it is, from the first write() on. A file that is replaced keeps its mode and,
/// where the process may say so, its owner. Not copyable.
class AtomicFile {
 public:
  /// Opens what is written, so that a path that cannot be written is known at once.
  /// @throws std::system_error
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  /// Appends.
  /// @throws std::system_error when it could not be written (such as on a full disk)
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);

  /// Gives the file its name, in place of what was there.
  /// @throws std::system_error when anything could not be written
  void commit();

 private:
  void flush();
  [[nodiscard]] int descriptor() const noexcept;

  std::filesystem::path path_;           // as given
  std::filesystem::path target_;         // where its links lead
  std::unique_ptr<TemporaryFile> file_;  // null for what is no file
  FileDescriptor device_;                // then
  std::vector<std::byte> buffer_;
  int failure_ = 0;  // of a write, the system's number
};

}  // namespace kvcache
