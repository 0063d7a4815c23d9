// Text that the system tells in files, such as /proc/cpuinfo.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace kvcache {

/// The lines of a file; none where it is not there or cannot be read.
class SystemLines {
 public:
  explicit SystemLines(const std::filesystem::path& path) : file_(path) {
    file_.exceptions(std::ios::badbit);  // else it would take memory that it lacks for its end
  }

  /// Whether there is another one, in `line`.
  /// @throws std::bad_alloc
  bool next(std::string& line) {
    try {
      return static_cast<bool>(std::getline(file_, line));
    } catch (const std::ios_base::failure&) {
      return false;
    }
  }

  /// The first one, empty where there is none.
  /// @throws std::bad_alloc
  [[nodiscard]] static std::string first_of(const std::filesystem::path& path) {
    std::string line;
    return SystemLines(path).next(line) ? line : std::string();
  }

 private:
  std::ifstream file_;
};

}  // namespace kvcache
