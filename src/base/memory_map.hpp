// Which file lies at an address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kvcache {

/// A place in a file.
struct FilePlace {
  std::string file;  // its device and inode, as the system writes them
  std::size_t offset = 0;
};

/// The files that are mapped into the process, as they were when it was made.
class MemoryMap {
 public:
  /// Empty where the system does not tell.
  MemoryMap();

  /// What is mapped at an address; nothing where that is no file.
  [[nodiscard]] std::optional<FilePlace> file_at(const void* address) const;

 private:
  struct Mapping {
    std::uintptr_t begin;
    std::uintptr_t end;
    FilePlace place;  // of `begin`
  };
  std::vector<Mapping> mappings_;  // in the order of addresses
};

/// The same, now.
std::optional<FilePlace> file_at(const void* address);

}  // namespace kvcache
