// Which file lies at an address.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace kvcache::ops {

/// A place in a file.
struct FilePlace {
  std::string file;  // its device and inode, as the system writes them
  std::size_t offset = 0;
};

/// What is mapped at an address; nothing where that is no file, or the system does not tell.
std::optional<FilePlace> file_at(const void* address);

}  // namespace kvcache::ops
