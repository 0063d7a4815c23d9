// Output files that are either whole or not there.
#pragma once

#include <filesystem>
#include <fstream>
#include <ostream>

namespace kvcache {

/// A file that appears under its name only when commit() is called; before that it is written
/// beside it, under a temporary name, and removed when given up. Not copyable.
class AtomicFile {
 public:
  /// Opens the temporary file, so that a path that cannot be written is known at once.
  /// @throws std::system_error
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  [[nodiscard]] std::ostream& stream() noexcept { return stream_; }

  /// Gives the file its name, in place of what was there.
  /// @throws std::system_error when anything could not be written (such as a full disk)
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::ofstream stream_;
};

}  // namespace kvcache
