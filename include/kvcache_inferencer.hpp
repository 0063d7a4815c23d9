// The short way in: one model, one sequence, one contiguous cache.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "kvcache/export.hpp"
#include "kvcache/kvcache.hpp"

/// Runs one sequence through a model, token by token, on a cache that is allocated once at
/// construction ([1, num_heads, max_seq_len, head_dim] for keys and values of every layer), stays
/// on the device and is written in place.
///
/// For several sequences on one model use kvcache::Model and kvcache::Sequence.
class KVCACHE_EXPORT KVCacheInferencer {
 public:
  /// What forward() did since construction or reset_metrics().
  struct Metrics {
    std::uint64_t forward_calls = 0;
    std::uint64_t tokens = 0;
    std::chrono::duration<double, std::milli> first_latency{0};  // of the first call after a reset
    std::chrono::duration<double, std::milli> last_latency{0};
    std::chrono::duration<double, std::milli> total_latency{0};
    std::uint64_t cache_allocations = 0;   // during those calls
    std::uint64_t cache_bytes_copied = 0;  // during those calls
  };

  /// Loads the model and allocates the whole cache, of one sequence. `options.block_len` and
  /// `options.cache_bytes` are set by this class: other sequences of model() find no room.
  /// TRIGO_FORCE_CPU=1 in the environment keeps it on the CPU.
  ///
  /// @throws kvcache::Error as kvcache::Model::load
  explicit KVCacheInferencer(const std::filesystem::path& model,
                             kvcache::ModelOptions options = {});

  /// Appends `input_ids` to the sequence; logits of the last token, [1, vocab_size].
  /// @throws kvcache::Error as kvcache::Sequence::extend; nothing has changed then
  kvcache::Logits forward(std::span<const kvcache::TokenId> input_ids);

  /// The same work without the cache: computes all of `input_ids` from nothing and keeps nothing.
  [[nodiscard]] kvcache::Logits forward_without_cache(
      std::span<const kvcache::TokenId> input_ids) const;

  /// Forgets the sequence; the cache's memory stays.
  void reset() noexcept;

  [[nodiscard]] std::size_t length() const noexcept { return sequence_.length(); }
  [[nodiscard]] const kvcache::Model& model() const noexcept { return model_; }

  [[nodiscard]] const Metrics& metrics() const noexcept { return metrics_; }
  void reset_metrics() noexcept;

  /// Bytes of cache memory taken from the system, read from the allocator.
  [[nodiscard]] std::size_t cache_bytes_allocated() const;

  /// 2 · layers · batch · heads · max_seq_len · head_dim · sizeof(element), with batch 1; of int8,
  /// head_dim + 2.
  [[nodiscard]] std::size_t cache_bytes_theoretical() const noexcept;

 private:
  kvcache::Model model_;
  kvcache::Sequence sequence_;
  Metrics metrics_;
};
