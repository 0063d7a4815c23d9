// A loaded model: where sequences come from.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "kvcache/export.hpp"
#include "kvcache/options.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/stats.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// One ONNX Runtime session and one cache, immutable and shared: copies refer to the same model,
/// and any thread may use it.
class KVCACHE_EXPORT Model {
 public:
  /// Loads the model directory written by export_gpt2_kvcache.py (or its .onnx file).
  ///
  /// @throws Error model_not_found, model_invalid, config_invalid, config_mismatch,
  ///         digest_mismatch, contract_violation, device_unavailable, invalid_argument,
  ///         out_of_memory
  static Model load(const std::filesystem::path& path, const ModelOptions& options = {});

  [[nodiscard]] const ModelInfo& info() const noexcept;
  [[nodiscard]] int num_threads() const noexcept;

  /// Whether the results of a token are the same bits whatever is computed beside it;
  /// ModelOptions::invariant_results insists on it.
  [[nodiscard]] bool invariant_results() const noexcept;

  /// An empty sequence. It takes memory when it is extended.
  [[nodiscard]] Sequence new_sequence() const;

  /// A sequence that Sequence::save() wrote, ready to be extended.
  /// @throws Error state_invalid, state_mismatch, cache_full, out_of_memory
  [[nodiscard]] Sequence load_sequence(const std::filesystem::path& path) const;

  /// The same logits computed from nothing, as a program without a cache would: every token is
  /// evaluated, nothing is kept. What caching is measured against.
  ///
  /// @throws Error empty_input, token_out_of_range, context_full, out_of_memory, run_failed,
  ///         logits_invalid
  [[nodiscard]] Logits forward_without_cache(std::span<const TokenId> tokens,
                                             LogitsFor logits_for = LogitsFor::last) const;

  [[nodiscard]] CacheStats cache_stats() const;

  /// Checks that every cache block is free, in use or without memory, and only one of these, in
  /// each group of layers, while no other thread uses the cache. For tests.
  /// @throws std::logic_error when that does not hold, which is a bug of this library
  void check_cache_invariants() const;

  /// Takes the memory for `count` tokens in all layers now rather than when sequences grow.
  /// @throws Error cache_full, out_of_memory
  void reserve_cache(std::size_t count) const;

  /// Gives the memory of free blocks back to the system.
  void trim_cache() const noexcept;

  /// Moves the weights into the process's own memory now, where they are still mapped, and waits
  /// for that. Whether they lie there (on a GPU: always); false where the system refused memory or
  /// a thread.
  [[nodiscard]] bool move_weights() const;

  /// The device that the model runs on.
  [[nodiscard]] Device device() const noexcept;

  /// One line: which device the model runs on and why.
  [[nodiscard]] std::string device_report() const;

  /// Ends the profile that ModelOptions::profile_prefix began; returns its file.
  /// @throws Error invalid_argument when no profile was asked for
  std::filesystem::path end_profile() const;

 private:
  friend class PrefixCache;
  explicit Model(std::shared_ptr<inference::Engine> engine);
  std::shared_ptr<inference::Engine> engine_;
};

}  // namespace kvcache
