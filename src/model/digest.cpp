#include "model/digest.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "throw_error.hpp"

namespace kvcache::model {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 20;

class File {
 public:
  explicit File(const std::filesystem::path& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// Bytes read, 0 at the end, negative on failure (also when the file could not be opened).
  [[nodiscard]] ssize_t read(std::vector<char>& buffer) const {
    return ::read(descriptor_, buffer.data(), buffer.size());
  }

 private:
  int descriptor_;
};

std::string to_text(const XXH128_hash_t& hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

std::string file_digest(const std::filesystem::path& path) {
  const File file(path);
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  std::vector<char> buffer(kReadBytes);
  ssize_t count = 0;
  while ((count = file.read(buffer)) > 0) {
    XXH3_128bits_update(state.get(), buffer.data(), static_cast<std::size_t>(count));
  }
  if (count < 0) {
    throw_error(ErrorCode::model_not_found, "cannot read {}: {}", path.string(),
                std::strerror(errno));
  }
  return to_text(XXH3_128bits_digest(state.get()));
}

std::string digest_of(std::span<const std::byte> bytes) {
  return to_text(XXH3_128bits(bytes.data(), bytes.size()));
}

}  // namespace kvcache::model
