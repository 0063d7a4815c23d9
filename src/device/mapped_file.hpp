// A file as memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace kvcache::device {

/// The bytes of a file, mapped for reading. Not copyable (RAII).
class MappedFile {
 public:
  /// @throws Error state_invalid when the file cannot be read
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(address_), size_};
  }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kvcache::device
