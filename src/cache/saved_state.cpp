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
constexpr std::uint32_t kWhole = 1;             // format versions: all of the sequence,
constexpr std::uint32_t kWithoutBeginning = 2;  // or not what it has given back
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
  std::size_t first_cached;  // token whose keys and values are the first in the file

  friend bool operator==(const Header&, const Header&) = default;
};

Header header_of(const std::string& model_digest, const PoolShape& shape, std::size_t tokens,
                 std::size_t first_cached) {
  return {model_digest,        shape.num_layers, shape.num_heads, shape.head_dim,
          shape.element_bytes, tokens,           first_cached};
}

std::string to_text(const Header& header) {
  // Not by nlohmann-json: where its memory runs out, 3.11.2 leaks or ends the process. A digest is
  // of hex digits.
  const std::string first_cached =
      header.first_cached > 0 ? fmt::format(R"("first_cached":{},)", header.first_cached) : "";
  return fmt::format(
      R"({{"element_bytes":{},{}"head_dim":{},"model_digest":"{}","num_heads":{},"num_layers":{},)"
      R"("tokens":{}}})",
      header.element_bytes, first_cached, header.head_dim, header.model_digest, header.num_heads,
      header.num_layers, header.tokens);
}

Header parse_header(std::string_view text, std::uint32_t version,
                    const std::filesystem::path& path) {
  const JsonDocument document(
      text,
      {.name = fmt::format("{} is not a saved state that can be loaded: its header", path.string()),
       .code = ErrorCode::state_invalid,
       .advice = "save the sequence again"});
  constexpr std::array<std::string_view, 7> kFields{"model_digest", "num_layers",    "num_heads",
                                                    "head_dim",     "element_bytes", "tokens",
                                                    "first_cached"};
  const JsonValue root = document.root();
  const bool whole = version == kWhole;
  root.only_fields(std::span(kFields).first(kFields.size() - (whole ? 1 : 0)));
  return {root.field("model_digest").text(),
          root.field("num_layers").size(1, kMost),
          root.field("num_heads").size(1, kMost),
          root.field("head_dim").size(1, kMost),
          root.field("element_bytes").size(1, kMost),
          root.field("tokens").size(0, kMost),
          whole ? 0 : root.field("first_cached").size(1, kMost)};
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
  const std::size_t first = table.first_cached();
  const std::size_t holes = first / shape.block_len;
  const std::size_t blocks = divide_up(tokens, shape.block_len) - holes;
  const auto block = [&](std::size_t i) -> const Block& {
    return table.block_of((holes + i) * shape.block_len);
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
        const std::size_t block_begin = (holes + i) * shape.block_len;
        const std::size_t begin = std::max(first, block_begin);
        const std::size_t end = std::min(tokens, block_begin + shape.block_len);
        visit(std::span(block_bytes(i) + head * shape.head_bytes() +
                            (begin - block_begin) * shape.vector_bytes(),
                        (end - begin) * shape.vector_bytes()));
      }
    }
    for (std::size_t i = 0; direction == Direction::write && !staging.empty() && i < blocks; ++i) {
      pool.write_block(p, block(i), block_bytes(i));
    }
  }
}

/// The format's version, after checking that it is a state at all and of one that is known here.
std::uint32_t read_version(StateReader& file, const std::filesystem::path& path) {
  if (file.read_value<std::array<char, 8>>() != kMagic) {
    file.invalid("it does not begin as one");
  }
  const auto version = file.read_value<std::uint32_t>();
  if (version != kWhole && version != kWithoutBeginning) {
    throw_error(ErrorCode::state_mismatch,
                "{} has format version {}, this library reads versions {} and {}; use the version "
                "that saved it",
                path.string(), version, kWhole, kWithoutBeginning);
  }
  return version;
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

/// Checks that what is not in the file is nothing that a token to come sees.
void check_first_cached(StateReader& file, const Header& header, const ModelInfo& model) {
  if (header.first_cached == 0) {
    return;
  }
  if (model.window == 0) {
    file.invalid(
        fmt::format("it lacks the keys and values of its first {} tokens, which all "
                    "tokens of the model see",
                    header.first_cached));
  }
  if (header.tokens < model.window || header.first_cached > header.tokens - model.window) {
    file.invalid(
        fmt::format("of {} tokens it lacks the keys and values of the first {}, of which "
                    "some are among the last {}, which a token of the model sees",
                    header.tokens, header.first_cached, model.window));
  }
}

/// Reads the header and compares it with the model's.
Header read_header(StateReader& file, std::uint32_t version, const std::filesystem::path& path,
                   const ModelInfo& model, const PoolShape& shape) {
  Header header = parse_header(read_header_text(file), version, path);
  if (header.element_bytes != shape.element_bytes) {
    throw_error(ErrorCode::state_mismatch,
                "{} is the state of a model whose keys and values take {} bytes an element, this "
                "model's take {}; load it with the model that saved it, or with one of the same "
                "--cache-dtype",
                path.string(), header.element_bytes, shape.element_bytes);
  }
  if (header != header_of(model.digest, shape, header.tokens, header.first_cached)) {
    throw_error(ErrorCode::state_mismatch,
                "{} is the state of another model (digest {}, this model has {}); load it with the "
                "model that saved it",
                path.string(), header.model_digest, model.digest);
  }
  if (header.tokens > model.max_seq_len) {
    file.invalid(fmt::format("it holds {} tokens, the model has {} positions", header.tokens,
                             model.max_seq_len));
  }
  check_first_cached(file, header, model);
  const std::uint64_t expected =
      header.tokens * sizeof(TokenId) + (header.tokens - header.first_cached) * shape.token_bytes();
  if (file.left() != expected) {
    file.invalid(fmt::format("{} bytes follow its header, {} tokens take {}", file.left(),
                             header.tokens, expected));
  }
  return header;
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
  const std::size_t first_cached = table.first_cached();
  const std::string header =
      to_text(header_of(model_digest, table.pool().shape(), tokens.size(), first_cached));
  try {
    StateWriter file(path);
    file.write_value(kMagic);
    file.write_value(first_cached > 0 ? kWithoutBeginning : kWhole);
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
  const std::uint32_t version = read_version(file, path);
  std::vector<TokenId> tokens;
  std::size_t first_cached = 0;
  try {
    const Header header = read_header(file, version, path, model, table.pool().shape());
    first_cached = header.first_cached;
    tokens = read_tokens(file, header.tokens, model);
  } catch (const Error&) {
    file.check();  // that it was altered explains it better
    throw;
  }
  BlockTable filled(table.pool());
  filled.reserve(model.max_seq_len);  // apply() must not allocate after a run
  filled.fill(first_cached, tokens.size());
  for_each_piece(filled, tokens.size(), Direction::write,
                 [&](std::span<std::byte> piece) { file.read(piece); });
  file.check();
  table = std::move(filled);
  return tokens;
}

}  // namespace kvcache::cache
