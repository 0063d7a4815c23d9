// Many continuations of one prefix, evaluated together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

class Sequence;

namespace inference {
struct EvaluatedTree;
}

/// Tokens that continue a prefix in several ways. Node i is tokens[i] after node parents[i], or
/// after the prefix itself where parents[i] is −1. Parents come before their children.
struct TokenTree {
  /// Among the nodes whose logits are asked for: the prefix's last token, whose logits follow the
  /// prefix itself. It is evaluated once more, as one node does.
  static constexpr std::size_t kPrefix = static_cast<std::size_t>(-1);

  std::vector<TokenId> tokens;
  std::vector<std::int32_t> parents;
};

/// The logits of a tree's nodes, and their keys and values, which Sequence::commit() can keep. They
/// take cache blocks as long as this object lives. Move-only.
class KVCACHE_EXPORT TreeEvaluation {
 public:
  TreeEvaluation(Logits logits, std::unique_ptr<inference::EvaluatedTree> tree);
  TreeEvaluation(TreeEvaluation&&) noexcept;
  TreeEvaluation& operator=(TreeEvaluation&&) noexcept;
  ~TreeEvaluation();

  /// Row i holds the logits that follow node i, or the i-th of the nodes that were chosen,
  /// [rows, vocab_size]; and the model's other outputs for them.
  [[nodiscard]] const Logits& logits() const noexcept { return logits_; }

 private:
  friend class Sequence;
  Logits logits_;
  std::unique_ptr<inference::EvaluatedTree> tree_;
};

/// A tree to evaluate after a prefix, in a batch.
struct TreeOfPrefix {
  const Sequence* prefix;
  const TokenTree* tree;
  std::span<const std::size_t> nodes = {};  // whose logits are wanted; empty: of all
};

/// Evaluates all trees in one run. Prefixes may be the same sequence or share blocks, and stay as
/// they are.
///
/// @throws Error as Sequence::evaluate; invalid_argument when the prefixes are of different
///         models, or one was moved away
KVCACHE_EXPORT std::vector<TreeEvaluation> evaluate(std::span<const TreeOfPrefix> batch);

}  // namespace kvcache
