#include "inference/engine.hpp"

#include <algorithm>
#include <utility>

#include "base/throw_error.hpp"

namespace kvcache::inference {
namespace {

constexpr std::size_t kDefaultBlockLen = 32;
constexpr std::size_t kDefaultSequences = 16;

constexpr std::size_t kMaxCacheBytes = std::size_t{1} << 47;
constexpr std::size_t kMaxBlocks = std::size_t{1} << 24;  // keeping account takes 12 bytes each

/// Bytes of logits that idle workspaces keep: a tree of 256 nodes of GPT-2 has 51 MB in float32,
/// and should find its workspace again. Where a workspace is a recording as well, all the shapes
/// that runs are filled up to should find theirs.
std::size_t most_idle_bytes(const device::Backend& backend) {
  return std::size_t{backend.prefers_few_shapes() ? 256U : 64U} << 20U;
}

cache::PoolShape pool_shape(const ModelInfo& info, const ModelOptions& options,
                            const model::LayerGroups& groups) {
  cache::PoolShape shape{};
  shape.num_layers = info.num_layers;
  shape.num_heads = info.num_kv_heads;
  shape.head_dim = info.head_dim;
  shape.element_bytes = data_type_size(info.cache_dtype);
  shape.scale_bytes = info.kv_vector_bytes() - info.head_dim * shape.element_bytes;
  shape.block_len = options.block_len != 0 ? options.block_len : kDefaultBlockLen;
  shape.block_len = std::min(shape.block_len, info.max_seq_len);
  const std::size_t blocks_per_sequence =
      (info.max_seq_len + shape.block_len - 1) / shape.block_len;
  shape.max_blocks = options.cache_bytes == 0 ? kDefaultSequences * blocks_per_sequence
                                              : options.cache_bytes / shape.block_bytes();
  if (options.cache_bytes > kMaxCacheBytes) {
    throw_error(ErrorCode::invalid_argument,
                "cache_bytes is {}, must be at most {} (2^47), the addresses of a process; a full "
                "sequence of {} tokens takes {} bytes",
                options.cache_bytes, kMaxCacheBytes, info.max_seq_len,
                blocks_per_sequence * shape.block_bytes());
  }
  // As many have room in the layers that see most where others have given all of them back.
  const std::size_t most_blocks = shape.max_blocks * shape.num_layers / groups.layers_in(0);
  if (most_blocks > kMaxBlocks) {
    throw_error(ErrorCode::invalid_argument,
                "the cache would have {} blocks of {} tokens ({} bytes), must have at most {}; "
                "give a larger block_len or fewer cache_bytes",
                most_blocks, shape.block_len, shape.block_bytes(), kMaxBlocks);
  }
  if (shape.max_blocks == 0) {
    throw_error(ErrorCode::invalid_argument,
                "cache_bytes is {}, less than one block of {} tokens ({} bytes); a full sequence "
                "of {} tokens takes {} bytes",
                options.cache_bytes, shape.block_len, shape.block_bytes(), info.max_seq_len,
                blocks_per_sequence * shape.block_bytes());
  }
  return shape;
}

/// Blocks to take memory for at a time: an eighth of a full sequence, but no more than a few MiB.
std::size_t growth_step(const ModelInfo& info, const cache::PoolShape& shape) {
  constexpr std::size_t kMostBytes = std::size_t{4} << 20;
  return std::max<std::size_t>(
      1, std::min(info.max_seq_len / shape.block_len / 8, kMostBytes / shape.block_bytes()));
}

/// The groups of layers that blocks are given back in.
model::LayerGroups groups_of(const model::Config& config, const ModelOptions& options) {
  return model::layer_groups(config.spec, options.rewindable_tokens.has_value());
}

}  // namespace

WorkspaceLease::WorkspaceLease(std::shared_ptr<Engine> engine,
                               std::unique_ptr<Workspace> workspace) noexcept
    : workspace_(workspace.release()) {
  workspace_->loan().engine = std::move(engine);
  workspace_->loan().shares.store(1, std::memory_order_relaxed);
}

WorkspaceLease::WorkspaceLease(const WorkspaceLease& other) noexcept
    : workspace_(other.workspace_) {
  if (workspace_ != nullptr) {
    workspace_->loan().shares.fetch_add(1, std::memory_order_relaxed);
  }
}

WorkspaceLease::WorkspaceLease(WorkspaceLease&& other) noexcept
    : workspace_(std::exchange(other.workspace_, nullptr)) {}

WorkspaceLease& WorkspaceLease::operator=(WorkspaceLease other) noexcept {
  std::swap(workspace_, other.workspace_);
  return *this;
}

WorkspaceLease::~WorkspaceLease() {
  // Acquire and release: who uses the workspace next sees all that was read from it.
  if (workspace_ != nullptr &&
      workspace_->loan().shares.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const std::shared_ptr<Engine> engine = std::move(workspace_->loan().engine);
    engine->idle_.put(std::unique_ptr<Workspace>(workspace_));
  }
}

Engine::Engine(const model::Config& config, const ModelOptions& options)
    : Engine(config, options, groups_of(config, options)) {}

Engine::Engine(const model::Config& config, const ModelOptions& options,
               const model::LayerGroups& groups)
    : info_(config.info),
      session_(config, options, groups),
      pool_(pool_shape(info_, options, groups),
            growth_step(info_, pool_shape(info_, options, groups)), options.poison_freed_blocks,
            session_.backend(), groups),
      rewindable_tokens_(
          std::min(options.rewindable_tokens.value_or(info_.max_seq_len), info_.max_seq_len)),
      idle_(most_idle_bytes(session_.backend())) {
  tokens_needed_.fill(kAllTokens);
  for (std::size_t group = 0; options.rewindable_tokens && group < groups.size(); ++group) {
    // A token sees `window` tokens with itself, so that after a rewind the last one, of which a
    // tree may ask once more, and the next one see `window` of those before the next.
    if (const std::size_t window = groups.windows[group]; window > 0) {
      tokens_needed_[group] = window + rewindable_tokens_;
    }
  }
}

WorkspaceLease Engine::lease(CacheUse cache_use, const RunShape& shape) {
  std::unique_ptr<Workspace> workspace = idle_.take(cache_use, shape);
  if (workspace == nullptr) {
    workspace = std::make_unique<Workspace>(session_, info_, pool_, cache_use);
  }
  return {shared_from_this(), std::move(workspace)};
}

void Engine::check_tokens(std::span<const TokenId> tokens, std::size_t length) const {
  check_room(tokens.size(), length);  // before a token is read: C's callers may say any number
  check_token_ids(tokens);
}

void Engine::check_token_ids(std::span<const TokenId> tokens) const {
  if (tokens.empty()) {
    throw_error(ErrorCode::empty_input, "no tokens were given; at least one is needed");
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= static_cast<TokenId>(info_.vocab_size)) {
      throw_error(ErrorCode::token_out_of_range,
                  "token {} of the input is {}, must be in [0, {}), the model's vocabulary", i,
                  tokens[i], info_.vocab_size);
    }
  }
}

void Engine::check_room(std::size_t count, std::size_t length) const {
  if (count > info_.max_seq_len - length) {
    throw_error(ErrorCode::context_full,
                "{} tokens do not fit: {} of the model's {} positions are used, {} are free; reset "
                "the sequence or give fewer tokens",
                count, length, info_.max_seq_len, info_.max_seq_len - length);
  }
}

CacheStats Engine::cache_stats() const {
  CacheStats stats = pool_.stats();
  const ort::NodeCounters& counters = session_.counters();
  stats.in_place_runs = counters.in_place_runs;
  stats.growing_runs = counters.growing_runs;
  stats.bytes_copied += counters.past_bytes_copied;
  stats.tokens_compared = tokens_compared_;
  return stats;
}

}  // namespace kvcache::inference
