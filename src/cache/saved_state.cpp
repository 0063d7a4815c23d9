#include "cache/saved_state.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "atomic_file.hpp"
#include "device/mapped_file.hpp"
#include "throw_error.hpp"

namespace kvcache::cache {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is written as it lies");

constexpr std::array<char, 8> kMagic{'k', 'v', 'c', 'a', 'c', 'h', 'e', '\0'};
constexpr std::uint32_t kVersion = 1;
using Checksum = XXH128_canonical_t;

/// What a state must have in common with the model that loads it.
nlohmann::json header_of(const std::string& model_digest, const PoolShape& shape,
                         std::size_t tokens) {
  return {{"model_digest", model_digest},         {"num_layers", shape.num_layers},
          {"num_heads", shape.num_heads},         {"head_dim", shape.head_dim},
          {"element_bytes", shape.element_bytes}, {"tokens", tokens}};
}

/// Whether the pieces below are to be read or written.
enum class Direction { read, write };

/// Calls `visit(bytes, size)` for each piece of the used part of all pools, in the file's order.
/// Blocks that the host cannot reach are brought to it before, or written back afterwards.
template <typename Visit>
void for_each_piece(const BlockTable& table, std::size_t tokens, Direction direction,
                    const Visit& visit) {
  BlockPool& pool = table.pool();
  const PoolShape& shape = pool.shape();
  const std::size_t blocks = (tokens + shape.block_len - 1) / shape.block_len;
  const auto block = [&](std::size_t i) -> const Block& {
    return table.block_of(i * shape.block_len);
  };
  const std::size_t bytes = shape.layer_block_bytes();
  std::vector<std::byte> staging(pool.on_host() ? 0 : blocks * bytes);
  for (std::size_t p = 0; p < shape.num_pools(); ++p) {
    const auto block_bytes = [&](std::size_t i) {
      return staging.empty() ? pool.pool_data(p) + static_cast<std::size_t>(block(i).id()) * bytes
                             : staging.data() + i * bytes;
    };
    for (std::size_t i = 0; !staging.empty() && i < blocks; ++i) {
      pool.read_block(p, block(i), block_bytes(i));  // when writing, for what is not overwritten
    }
    for (std::size_t head = 0; head < shape.num_heads; ++head) {
      for (std::size_t i = 0; i < blocks; ++i) {
        const std::size_t count = std::min(shape.block_len, tokens - i * shape.block_len);
        visit(block_bytes(i) + head * shape.head_bytes(), count * shape.row_bytes());
      }
    }
    for (std::size_t i = 0; direction == Direction::write && !staging.empty() && i < blocks; ++i) {
      pool.write_block(p, block(i), block_bytes(i));
    }
  }
}

/// Writes to a stream and keeps the checksum of what it wrote.
class ChecksummedWriter {
 public:
  explicit ChecksummedWriter(std::ostream& stream) : stream_(stream) {
    XXH3_128bits_reset(state_.get());
  }

  void write(const void* bytes, std::size_t size) {
    XXH3_128bits_update(state_.get(), bytes, size);
    stream_.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
  }

  void write_checksum() {
    Checksum checksum;
    XXH128_canonicalFromHash(&checksum, XXH3_128bits_digest(state_.get()));
    stream_.write(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  }

 private:
  std::ostream& stream_;
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_{XXH3_createState(),
                                                                  &XXH3_freeState};
};

/// Takes pieces off the front of a checked file.
class Reader {
 public:
  Reader(const std::filesystem::path& path, std::span<const std::byte> bytes)
      : path_(path), bytes_(bytes) {}

  std::span<const std::byte> take(std::size_t size) {
    if (size > bytes_.size()) {
      invalid("it ends too early");
    }
    const auto taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }

  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  [[nodiscard]] std::size_t left() const { return bytes_.size(); }

  [[noreturn]] void invalid(std::string_view why) const {
    throw_error(ErrorCode::state_invalid,
                "{} is not a saved state that can be loaded: {}; save the "
                "sequence again",
                path_.string(), why);
  }

 private:
  const std::filesystem::path& path_;
  std::span<const std::byte> bytes_;
};

/// The contents without the checksum, which they match.
std::span<const std::byte> check_contents(const std::filesystem::path& path,
                                          std::span<const std::byte> file) {
  Reader reader(path, file);
  if (reader.take<std::array<char, 8>>() != kMagic) {
    reader.invalid("it does not begin as one");
  }
  if (const auto version = reader.take<std::uint32_t>(); version != kVersion) {
    throw_error(ErrorCode::state_mismatch,
                "{} has format version {}, this library reads version {}; use the version that "
                "saved it",
                path.string(), version, kVersion);
  }
  if (reader.left() < sizeof(Checksum)) {
    reader.invalid("it ends too early");
  }
  const auto contents = file.first(file.size() - sizeof(Checksum));
  Checksum expected;
  std::memcpy(&expected, contents.data() + contents.size(), sizeof(expected));
  Checksum found;
  XXH128_canonicalFromHash(&found, XXH3_128bits(contents.data(), contents.size()));
  if (std::memcmp(&expected, &found, sizeof(found)) != 0) {
    reader.invalid("its checksum does not match: it was truncated or altered");
  }
  return contents;
}

}  // namespace

void save_state(const std::filesystem::path& path, const std::string& model_digest,
                std::span<const TokenId> tokens, const BlockTable& table) {
  const std::string header = header_of(model_digest, table.pool().shape(), tokens.size()).dump();
  const auto header_size = static_cast<std::uint32_t>(header.size());
  try {
    AtomicFile file(path);
    ChecksummedWriter writer(file.stream());
    writer.write(kMagic.data(), kMagic.size());
    writer.write(&kVersion, sizeof(kVersion));
    writer.write(&header_size, sizeof(header_size));
    writer.write(header.data(), header.size());
    writer.write(tokens.data(), tokens.size_bytes());
    for_each_piece(table, tokens.size(), Direction::read,
                   [&](const std::byte* bytes, std::size_t size) { writer.write(bytes, size); });
    writer.write_checksum();
    file.commit();
  } catch (const std::system_error& error) {
    throw_error(ErrorCode::state_not_saved, "the state of {} tokens was not saved: {}",
                tokens.size(), error.what());
  }
}

std::vector<TokenId> load_state(const std::filesystem::path& path, const std::string& model_digest,
                                BlockTable& table) {
  const device::MappedFile file(path);
  Reader reader(path, check_contents(path, file.bytes()));
  reader.take(kMagic.size() + sizeof(kVersion));
  const auto header_bytes = reader.take(reader.take<std::uint32_t>());
  const auto header = nlohmann::json::parse(
      reinterpret_cast<const char*>(header_bytes.data()),
      reinterpret_cast<const char*>(header_bytes.data() + header_bytes.size()));
  const auto count = header.at("tokens").get<std::size_t>();
  const PoolShape& shape = table.pool().shape();
  if (header.at("element_bytes") != shape.element_bytes) {
    throw_error(ErrorCode::state_mismatch,
                "{} is the state of a model whose keys and values take {} bytes an element, this "
                "model's take {}; load it with the model that saved it, or with one of the same "
                "--cache-dtype",
                path.string(), header.at("element_bytes").get<std::size_t>(), shape.element_bytes);
  }
  if (header != header_of(model_digest, shape, count)) {
    throw_error(ErrorCode::state_mismatch,
                "{} is the state of another model (digest {}, this model has {}); load it with the "
                "model that saved it",
                path.string(), header.at("model_digest").get<std::string>(), model_digest);
  }
  std::vector<TokenId> tokens(count);
  const auto token_bytes = reader.take(count * sizeof(TokenId));
  std::ranges::copy(token_bytes, std::as_writable_bytes(std::span(tokens)).begin());

  table.apply(table.plan_growth(0, count));
  for_each_piece(table, count, Direction::write, [&](std::byte* bytes, std::size_t size) {
    std::memcpy(bytes, reader.take(size).data(), size);
  });
  return tokens;
}

}  // namespace kvcache::cache
