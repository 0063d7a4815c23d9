#include "cache/state_file.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <system_error>

#include "base/throw_error.hpp"

namespace kvcache::cache {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} << 10;  // stays in a core's cache

/// What `call` returns; what the system has against it is said of the file.
template <typename Call>
auto read_from(const std::filesystem::path& path, const Call& call) {
  try {
    return call();
  } catch (const std::system_error& error) {
    throw_error(
        ErrorCode::state_invalid, "cannot read {}: {}", path.string(),
        error.code() == std::errc::invalid_seek ? "it is no regular file" : error.code().message());
  }
}

}  // namespace

Checksum::Checksum() : state_(XXH3_createState(), &XXH3_freeState) {
  if (!state_) {
    throw std::bad_alloc();
  }
  XXH3_128bits_reset(state_.get());
}

void Checksum::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}

Checksum::Value Checksum::value() const {
  Value value;
  XXH128_canonicalFromHash(&value, XXH3_128bits_digest(state_.get()));
  return value;
}

void StateWriter::write(std::span<const std::byte> bytes) {
  checksum_.add(bytes);
  file_.write(bytes);
}

void StateWriter::commit() {
  const Checksum::Value value = checksum_.value();
  file_.write(std::as_bytes(std::span(&value, 1)));
  file_.commit();
}

StateReader::StateReader(const std::filesystem::path& path)
    : path_(path), file_(read_from(path, [&] { return InputFile(path); })) {
  const std::uint64_t size = read_from(path, [&] { return file_.regular_size(); });
  if (size < sizeof(Checksum::Value)) {
    invalid("it ends too early");
  }
  left_ = size - sizeof(Checksum::Value);
  buffer_.resize(kBufferBytes);
}

void StateReader::fill() {
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left_, buffer_.size()));
  const std::span<std::byte> bytes = std::span(buffer_).first(wanted);
  if (read_from(path_, [&] { return file_.read(bytes); }) < wanted) {
    invalid("it became shorter while it was read");
  }
  checksum_.add(bytes);
  buffered_ = bytes;
}

void StateReader::read(std::span<std::byte> bytes) {
  if (bytes.size() > left_) {
    invalid("it ends too early");
  }
  while (!bytes.empty()) {
    if (buffered_.empty()) {
      fill();
    }
    const std::size_t count = std::min(bytes.size(), buffered_.size());
    std::memcpy(bytes.data(), buffered_.data(), count);
    bytes = bytes.subspan(count);
    buffered_ = buffered_.subspan(count);
    left_ -= count;
  }
}

void StateReader::check() {
  for (left_ -= buffered_.size(); left_ > 0; left_ -= buffered_.size()) {
    fill();
  }
  buffered_ = {};
  Checksum::Value expected;
  const auto bytes = std::as_writable_bytes(std::span(&expected, 1));
  const Checksum::Value found = checksum_.value();
  if (read_from(path_, [&] { return file_.read(bytes); }) < bytes.size() ||
      std::memcmp(&expected, &found, sizeof(found)) != 0) {
    invalid("its checksum does not match: it was truncated or altered");
  }
}

void StateReader::invalid(std::string_view why) const {
  throw_error(ErrorCode::state_invalid,
              "{} is not a saved state that can be loaded: {}; save the sequence again",
              path_.string(), why);
}

}  // namespace kvcache::cache
