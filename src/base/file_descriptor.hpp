// An open file of the system's.
#pragma once

#include <unistd.h>

#include <utility>

namespace kvcache {

/// Closes a descriptor when it goes. Move-only (RAII).
class FileDescriptor {
 public:
  FileDescriptor() = default;
  /// Takes what open() gave: a descriptor, or −1.
  explicit FileDescriptor(int descriptor) noexcept : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileDescriptor() {
    if (is_open()) {
      ::close(descriptor_);
    }
  }

  [[nodiscard]] bool is_open() const noexcept { return descriptor_ >= 0; }
  [[nodiscard]] int get() const noexcept { return descriptor_; }

 private:
  int descriptor_ = -1;
};

}  // namespace kvcache
