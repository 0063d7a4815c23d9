// Prefixes that were computed before, found by their tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kvcache/export.hpp"
#include "kvcache/model.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

namespace inference {
class KnownPrefixes;
}

struct PrefixCacheOptions {
  /// The most memory that known prefixes may hold on to; 0: half of the model's cache_bytes.
  std::size_t max_bytes = 0;
};

struct PrefixCacheStats {
  std::uint64_t hits = 0;            // acquire() found at least one token
  std::uint64_t misses = 0;          // or none
  std::uint64_t tokens_reused = 0;   // by all hits together
  std::uint64_t blocks_evicted = 0;  // forgotten, for the limit or because others needed memory
  std::size_t blocks = 0;            // known now
  std::size_t bytes = 0;             // of these, whoever else holds them too
};

/// Remembers sequences by their tokens and hands out what is known of others: a service that sees
/// the same system prompt again, a search that comes back to a position.
///
/// Whole blocks are remembered, by reference: nothing is copied, and the least recently used are
/// forgotten first when the limit is reached. Blocks that only this object holds never make another
/// call fail with cache_full: they are given back when the model's cache runs out. Thread-safe; it
/// keeps the model alive.
class KVCACHE_EXPORT PrefixCache {
 public:
  explicit PrefixCache(const Model& model, const PrefixCacheOptions& options = {});
  PrefixCache(PrefixCache&&) noexcept;
  PrefixCache& operator=(PrefixCache&&) noexcept;
  ~PrefixCache();

  /// A sequence that holds the longest known prefix of `tokens`, at least one token short of them:
  /// extending it by the rest, tokens.subspan(length()), gives their logits. A prefix may end
  /// inside a remembered block; extending copies the used part of that one block.
  ///
  /// @throws Error empty_input, token_out_of_range, context_full
  [[nodiscard]] Sequence acquire(std::span<const TokenId> tokens);

  /// How long that prefix is. Holds nothing and counts as no use.
  /// @throws Error as acquire()
  [[nodiscard]] std::size_t longest_match(std::span<const TokenId> tokens) const;

  /// Remembers the whole blocks of a sequence.
  /// @throws Error invalid_argument when it is of another model, the context of a WindowedSequence
  ///         that slid and kept its keys and values, or has given blocks back
  ///         (Sequence::first_cached)
  void insert(const Sequence& sequence);

  /// Forgets everything.
  void clear() noexcept;

  [[nodiscard]] PrefixCacheStats stats() const;

 private:
  std::shared_ptr<inference::KnownPrefixes> known_;  // the model's cache refers to it, weakly
};

}  // namespace kvcache
