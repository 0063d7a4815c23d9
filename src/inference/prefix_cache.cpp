#include "kvcache/prefix_cache.hpp"

#include <mutex>
#include <utility>

#include "base/throw_error.hpp"
#include "cache/prefix_tree.hpp"
#include "inference/sequence_state.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {

namespace inference {

/// The tree with its lock and counts. Lock order: this one, then the pool's.
class KnownPrefixes final : public cache::Reclaimer {
 public:
  KnownPrefixes(std::shared_ptr<Engine> shared_engine, std::size_t max_blocks)
      : engine(std::move(shared_engine)), tree(engine->pool().shape().block_len, max_blocks) {}

  std::size_t reclaim(std::size_t bytes) noexcept override {
    const std::scoped_lock lock(mutex);
    return tree.evict_unshared(bytes);
  }

  std::shared_ptr<Engine> engine;  // first: blocks go back to its pool
  mutable std::mutex mutex;
  cache::PrefixTree tree;
  PrefixCacheStats stats;
};

}  // namespace inference

namespace {

using inference::LeftTokens;

constexpr Meaning kUsePrefixes{"the prefix cache was not used", ErrorCode::run_failed,
                               ErrorCode::run_failed};

std::size_t max_blocks(const cache::PoolShape& shape, const PrefixCacheOptions& options) {
  if (options.max_bytes == 0) {
    return shape.max_blocks / 2;
  }
  if (options.max_bytes < shape.block_bytes()) {
    throw_error(ErrorCode::invalid_argument,
                "max_bytes of the prefix cache is {}, less than one block of {} tokens ({} bytes)",
                options.max_bytes, shape.block_len, shape.block_bytes());
  }
  return options.max_bytes / shape.block_bytes();
}

}  // namespace

PrefixCache::PrefixCache(const Model& model, const PrefixCacheOptions& options) try
    : known_(std::make_shared<inference::KnownPrefixes>(
          model.engine_, max_blocks(model.engine_->pool().shape(), options))) {
  known_->engine->pool().add_reclaimer(known_);
} catch (...) {
  rethrow_as_error(kUsePrefixes);
}

PrefixCache::PrefixCache(PrefixCache&&) noexcept = default;
PrefixCache& PrefixCache::operator=(PrefixCache&&) noexcept = default;
PrefixCache::~PrefixCache() = default;

Sequence PrefixCache::acquire(std::span<const TokenId> tokens) try {
  known_->engine->check_tokens(tokens, 0);
  auto state = std::make_unique<inference::SequenceState>(known_->engine);
  state->tokens.prepare_append();
  const auto prefix = tokens.first(tokens.size() - 1);
  const std::scoped_lock lock(known_->mutex);
  const std::size_t length = known_->tree.match(prefix);
  state->table.apply({.writable_last = std::nullopt, .added = known_->tree.share(prefix)});
  state->tokens.append(prefix.first(length));
  ++(length > 0 ? known_->stats.hits : known_->stats.misses);
  known_->stats.tokens_reused += length;
  return Sequence(std::move(state));
} catch (...) {
  rethrow_as_error(kUsePrefixes);
}

std::size_t PrefixCache::longest_match(std::span<const TokenId> tokens) const try {
  known_->engine->check_tokens(tokens, 0);
  const std::scoped_lock lock(known_->mutex);
  return known_->tree.match(tokens.first(tokens.size() - 1));
} catch (...) {
  rethrow_as_error(kUsePrefixes);
}

void PrefixCache::insert(const Sequence& sequence) try {
  if (sequence.state_->engine != known_->engine) {
    throw_error(ErrorCode::invalid_argument,
                "the sequence is of another model than the prefix cache; make one of its own");
  }
  if (const LeftTokens& left = sequence.state_->left; left.count > 0) {
    throw_error(ErrorCode::invalid_argument,
                "{} tokens left the sequence when its window slid, and the keys and values of what "
                "stays were computed with them, so that it is no prefix of a text; insert it "
                "before it slides, or rewind a fork of it to its first {} tokens and insert that",
                left.count, left.first);
  }
  if (const std::size_t first = sequence.state_->table.first_cached_in_all(); first > 0) {
    throw_error(ErrorCode::invalid_argument,
                "keys and values of the sequence's first {} tokens were given back, so that it is "
                "no prefix of a text; insert it while it has no more than {} tokens, or load the "
                "model with more rewindable_tokens than {}",
                first, known_->engine->tokens_needed(known_->engine->pool().groups().size() - 1),
                known_->engine->rewindable_tokens());
  }
  const std::scoped_lock lock(known_->mutex);
  known_->tree.insert(sequence.tokens(), sequence.state_->table.blocks());
} catch (...) {
  rethrow_as_error(kUsePrefixes);
}

void PrefixCache::clear() noexcept {
  const std::scoped_lock lock(known_->mutex);
  known_->tree.clear();
}

PrefixCacheStats PrefixCache::stats() const {
  const std::scoped_lock lock(known_->mutex);
  PrefixCacheStats stats = known_->stats;
  stats.blocks_evicted = known_->tree.evicted();
  stats.blocks = known_->tree.size();
  stats.bytes = stats.blocks * known_->engine->pool().shape().block_bytes();
  return stats;
}

}  // namespace kvcache
