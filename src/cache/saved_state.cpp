#include "cache/saved_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/checked_json.hpp"
#include "base/rounding.hpp"
#include "base/throw_error.hpp"
#include "cache/state_file.hpp"

namespace kvcache::cache {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is written as it lies");

constexpr std::array<char, 8> kMagic{'k', 'v', 'c', 'a', 'c', 'h', 'e', '\0'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kMaxHeaderBytes = std::size_t{64} << 10;
constexpr std::size_t kMost = std::numeric_limits<std::int64_t>::max();

/// What a state must have in common with the model that loads it, and its length.
struct Header {
  std::string model_digest;
  std::size_t num_layers;
  std::size_t num_heads;
  std::size_t head_dim;
  std::size_t element_bytes;
  std::size_t tokens;

  friend bool operator==(const Header&, const Header&) = default;
};

Header header_of(const std::string& model_digest, const PoolShape& shape, std::size_t tokens) {
  return {model_digest,   shape.num_layers,    shape.num_heads,
          shape.head_dim, shape.element_bytes, tokens};
}

std::string to_text(const Header& header) {
  // Not by nlohmann-json: where its memory runs out, 3.11.2 leaks or ends the process. A digest is
  // of hex digits.
  return fmt::format(
      R"({{"element_bytes":{},"head_dim":{},"model_digest":"{}","num_heads":{},"num_layers":{},)"
      R"("tokens":{}}})",
      header.element_bytes, header.head_dim, header.model_digest, header.num_heads,
      header.num_layers, header.tokens);
}

Header parse_header(std::string_view text, const std::filesystem::path& path) {
  const JsonDocument document(
      text,
      {.name = fmt::format("{} is not a saved state that can be loaded: its header", path.string()),
       .code = ErrorCode::state_invalid,
       .advice = "save the sequence again"});
  constexpr std::array<std::string_view, 6> kFields{"model_digest", "num_layers",    "num_heads",
                                                    "head_dim",     "element_bytes", "tokens"};
  const JsonValue root = document.root();
  root.only_fields(kFields);
  return {root.field("model_digest").text(),          root.field("num_layers").size(1, kMost),
          root.field("num_heads").size(1, kMost),     root.field("head_dim").size(1, kMost),
          root.field("element_bytes").size(1, kMost), root.field("tokens").size(0, kMost)};
}

/// Whether the pieces below are to be read or written.
enum class Direction { read, write };

/// Calls `visit(bytes)` for each piece of the used part of all pools, in the file's order.
/// Blocks that the host cannot reach are brought to it before, or written back afterwards.
template <typename Visit>
void for_each_piece(const BlockTable& table, std::size_t tokens, Direction direction,
                    const Visit& visit) {
  BlockPool& pool = table.pool();
  const PoolShape& shape = pool.shape();
  const std::size_t blocks = divide_up(tokens, shape.block_len);
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
        visit(std::span(block_bytes(i) + head * shape.head_bytes(), count * shape.vector_bytes()));
      }
    }
    for (std::size_t i = 0; direction == Direction::write && !staging.empty() && i < blocks; ++i) {
      pool.write_block(p, block(i), block_bytes(i));
    }
  }
}

/// Whether it is a state at all, and of a format that is known here.
void read_format(StateReader& file, const std::filesystem::path& path) {
  if (file.read_value<std::array<char, 8>>() != kMagic) {
    file.invalid("it does not begin as one");
  }
  if (const auto version = file.read_value<std::uint32_t>(); version != kVersion) {
    throw_error(ErrorCode::state_mismatch,
                "{} has format version {}, this library reads version {}; use the version that "
                "saved it",
                path.string(), version, kVersion);
  }
}

std::string read_header_text(StateReader& file) {
  const auto size = file.read_value<std::uint32_t>();
  if (size > kMaxHeaderBytes) {
    file.invalid(
        fmt::format("its header has {} bytes, must have at most {}", size, kMaxHeaderBytes));
  }
  std::string text(size, '\0');
  file.read(std::as_writable_bytes(std::span(text)));
  return text;
}

/// Reads the header and compares it with the model's; returns the number of tokens.
std::size_t read_header(StateReader& file, const std::filesystem::path& path,
                        const ModelInfo& model, const PoolShape& shape) {
  const Header header = parse_header(read_header_text(file), path);
  if (header.element_bytes != shape.element_bytes) {
    throw_error(ErrorCode::state_mismatch,
                "{} is the state of a model whose keys and values take {} bytes an element, this "
                "model's take {}; load it with the model that saved it, or with one of the same "
                "--cache-dtype",
                path.string(), header.element_bytes, shape.element_bytes);
  }
  if (header != header_of(model.digest, shape, header.tokens)) {
    throw_error(ErrorCode::state_mismatch,
                "{} is the state of another model (digest {}, this model has {}); load it with the "
                "model that saved it",
                path.string(), header.model_digest, model.digest);
  }
  if (header.tokens > model.max_seq_len) {
    file.invalid(fmt::format("it holds {} tokens, the model has {} positions", header.tokens,
                             model.max_seq_len));
  }
  const std::uint64_t expected = header.tokens * (sizeof(TokenId) + shape.token_bytes());
  if (file.left() != expected) {
    file.invalid(fmt::format("{} bytes follow its header, {} tokens take {}", file.left(),
                             header.tokens, expected));
  }
  return header.tokens;
}

std::vector<TokenId> read_tokens(StateReader& file, std::size_t count, const ModelInfo& model) {
  std::vector<TokenId> tokens(count);
  file.read(std::as_writable_bytes(std::span(tokens)));
  for (std::size_t i = 0; i < count; ++i) {
    if (tokens[i] < 0 || std::cmp_greater_equal(tokens[i], model.vocab_size)) {
      file.invalid(fmt::format("its token {} is {}, must be in [0, {}), the model's vocabulary", i,
                               tokens[i], model.vocab_size));
    }
  }
  return tokens;
}

}  // namespace

void save_state(const std::filesystem::path& path, const std::string& model_digest,
                std::span<const TokenId> tokens, const BlockTable& table) {
  const std::string header = to_text(header_of(model_digest, table.pool().shape(), tokens.size()));
  try {
    StateWriter file(path);
    file.write_value(kMagic);
    file.write_value(kVersion);
    file.write_value(static_cast<std::uint32_t>(header.size()));
    file.write(std::as_bytes(std::span(header)));
    file.write(std::as_bytes(tokens));
    for_each_piece(table, tokens.size(), Direction::read,
                   [&](std::span<std::byte> piece) { file.write(piece); });
    file.commit();
  } catch (const std::system_error& error) {
    throw_error(ErrorCode::state_not_saved, "the state of {} tokens was not saved: {}",
                tokens.size(), error.what());
  }
}

std::vector<TokenId> load_state(const std::filesystem::path& path, const ModelInfo& model,
                                BlockTable& table) {
  StateReader file(path);
  read_format(file, path);
  std::vector<TokenId> tokens;
  try {
    tokens = read_tokens(file, read_header(file, path, model, table.pool().shape()), model);
  } catch (const Error&) {
    file.check();  // that it was altered explains it better
    throw;
  }
  BlockTable filled(table.pool());
  filled.reserve(tokens.size());
  filled.apply(filled.plan_growth(0, tokens.size()));
  for_each_piece(filled, tokens.size(), Direction::write,
                 [&](std::span<std::byte> piece) { file.read(piece); });
  file.check();
  table = std::move(filled);
  return tokens;
}

}  // namespace kvcache::cache
