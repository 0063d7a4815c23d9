// The file of a saved state as bytes with a checksum at their end.
#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/atomic_file.hpp"
#include "base/input_file.hpp"

namespace kvcache::cache {

/// XXH3-128 of bytes that come in pieces.
class Checksum {
 public:
  using Value = XXH128_canonical_t;

  Checksum();
  void add(std::span<const std::byte> bytes);
  [[nodiscard]] Value value() const;

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

/// Writes a file that ends with the checksum of what is before.
class StateWriter {
 public:
  /// @throws std::system_error, as all its calls
  explicit StateWriter(const std::filesystem::path& path) : file_(path) {}

  void write(std::span<const std::byte> bytes);
  template <typename T>
  void write_value(const T& value) {
    write(std::as_bytes(std::span(&value, 1)));
  }
  /// Writes the checksum and gives the file its name.
  void commit();

 private:
  AtomicFile file_;
  Checksum checksum_;
};

/// Reads such a file from front to back, each byte once and into memory of its own, so that what
/// was checked is what is used, whatever becomes of the file meanwhile.
class StateReader {
 public:
  /// @throws Error state_invalid when it cannot be read, as all its calls
  explicit StateReader(const std::filesystem::path& path);

  void read(std::span<std::byte> bytes);
  template <typename T>
  T read_value() {
    T value;
    read(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  /// Bytes before the checksum that were not read yet.
  [[nodiscard]] std::uint64_t left() const noexcept { return left_; }

  /// Reads what is left, and compares the checksum.
  void check();

  /// Throws: the file is no state, because of `why`.
  [[noreturn]] void invalid(std::string_view why) const;

 private:
  void fill();

  std::filesystem::path path_;
  InputFile file_;
  std::uint64_t left_ = 0;
  Checksum checksum_;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> buffered_;  // of buffer_, what was not taken yet
};

}  // namespace kvcache::cache
