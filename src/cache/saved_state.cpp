#include "cache/saved_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <system_error>
#include <utility>

#include "base/rounding.hpp"
#include "base/throw_error.hpp"
#include "cache/state_header.hpp"

namespace kvcache::cache {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is written as it lies");

/// Whether the pieces below are to be read or written.
enum class Direction { read, write };

/// Calls `visit(bytes)` for each piece of the used part of all pools, in the file's order.
/// Blocks that the host cannot reach are brought to it before, or written back afterwards.
template <typename Visit>
void for_each_piece(const BlockTable& table, std::size_t tokens, Direction direction,
                    const Visit& visit) {
  BlockPool& pool = table.pool();
  const PoolShape& shape = pool.shape();
  const std::size_t bytes = shape.layer_block_bytes();
  const std::size_t most = divide_up(tokens, shape.block_len) -
                           table.first_cached().front() / shape.block_len;  // no group has more
  std::vector<std::byte> staging(pool.on_host() ? 0 : most * bytes);
  for (std::size_t p = 0; p < shape.num_pools(); ++p) {
    const std::size_t group = pool.group_of_pool(p);
    const std::size_t first = table.first_cached()[group];
    const std::size_t holes = first / shape.block_len;
    const std::size_t blocks = divide_up(tokens, shape.block_len) - holes;
    const auto block = [&](std::size_t i) -> const Block& {
      return table.block_of((holes + i) * shape.block_len);
    };
    const auto block_bytes = [&](std::size_t i) {
      return staging.empty()
                 ? pool.pool_data(p) + static_cast<std::size_t>(block(i).place(group)) * bytes
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
  const BlockPool& pool = table.pool();
  const StateHeader header =
      header_of(model_digest, pool.shape(), tokens.size(), table.first_cached());
  try {
    StateWriter file(path);
    write_header(file, header, pool.groups().size());
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
  FirstCached first_cached{};
  try {
    const StateHeader header = read_header(file, version, path, model, table.pool());
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
