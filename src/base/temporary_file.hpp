// A file that is being written and has no name yet, or one that nobody else uses.
#pragma once

#include <filesystem>

#include "base/file_descriptor.hpp"

namespace kvcache {

/// A new file in a directory, which takes a name when it is published. Where the file system can,
/// it has none before, so that nothing stays behind however the process ends; elsewhere it is
/// called .kvcache-….tmp and removed with this object. It is locked: what a killed process left is
/// known by having no lock, and removed by the next TemporaryFile in the directory. Not copyable.
class TemporaryFile {
 public:
  /// @throws std::system_error
  explicit TemporaryFile(std::filesystem::path directory);
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile();

  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }

  /// Flushes the content, then gives the file the name `path` in the same directory, in place of a
  /// file that has it. At every moment the name is that of the old file or the new one, whole.
  /// @throws std::system_error; the old file is there then
  void publish(const std::filesystem::path& path);

 private:
  bool create_without_name();
  void create_with_name();
  void give_temporary_name();

  std::filesystem::path directory_;
  std::filesystem::path name_;  // empty where it has none, or not any more
  FileDescriptor file_;
};

}  // namespace kvcache
