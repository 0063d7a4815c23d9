// Policy and value of one model, for any number of users.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/model.hpp"
#include "kvcache/prefix_cache.hpp"
#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// Whether what was computed before is used again. Without, every question is computed from its
/// first token on: the numbers are the same, and the difference in time is what the cache gains.
enum class CacheMode { off, on };

/// A position of which a policy is asked: the tokens so far, and continuations of them.
struct PolicyInput {
  std::span<const TokenId> prefix;  // at least one token
  const TokenTree* evaluated;       // at least one node
};

/// One ONNX Runtime session, bound by IoBinding, whose model has logits (the policy) and perhaps an
/// output "value" (a value head). Immutable and shared as Model is: copies refer to the same
/// session and the same remembered prefixes, and any thread may use it.
class KVCACHE_EXPORT SharedModelInferencer {
 public:
  /// Token of vocabularies of games whose hidden state the value is read at, unless said otherwise.
  static constexpr TokenId kValueToken = 3;

  /// @throws Error as Model::load
  explicit SharedModelInferencer(const std::filesystem::path& path,
                                 const ModelOptions& options = {},
                                 CacheMode cache_mode = CacheMode::on);
  explicit SharedModelInferencer(Model model, CacheMode cache_mode = CacheMode::on);

  /// The logits after each prefix and after every node of its tree, all in one run: of element i,
  /// row 0 follows the prefix, row 1 + n follows node n, [1 + nodes, vocab_size]. Prefixes that
  /// were seen before are computed from where they differ.
  ///
  /// @throws Error as kvcache::evaluate
  [[nodiscard]] std::vector<TreeEvaluation> policy_inference(
      std::span<const PolicyInput> batch) const;

  /// The value of each list of tokens, read at `value_token` behind its last one, all in one run.
  ///
  /// @throws Error as kvcache::evaluate; invalid_argument where the model has no output "value"
  [[nodiscard]] std::vector<float> value_inference(std::span<const std::span<const TokenId>> batch,
                                                   TokenId value_token = kValueToken) const;

  /// Whether the model has an output "value".
  [[nodiscard]] bool has_value() const noexcept;

  [[nodiscard]] const Model& model() const noexcept { return model_; }
  [[nodiscard]] CacheMode cache_mode() const noexcept {
    return prefixes_ ? CacheMode::on : CacheMode::off;
  }
  /// What is remembered of prefixes; zeros with CacheMode::off.
  [[nodiscard]] PrefixCacheStats prefix_stats() const;

 private:
  [[nodiscard]] std::vector<Sequence> sequences_of(
      std::span<const std::span<const TokenId>> prefixes) const;

  Model model_;
  std::shared_ptr<PrefixCache> prefixes_;  // null: nothing is remembered
};

}  // namespace kvcache
