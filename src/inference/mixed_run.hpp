// Extensions of sequences and trees of continuations, gathered row by row into one run.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "inference/extend.hpp"
#include "inference/run.hpp"
#include "inference/sequence_state.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/tree.hpp"

namespace kvcache::inference {

/// A tree that follows a prefix.
struct TreeRow {
  const SequenceState* prefix;
  const TokenTree* tree;
  std::span<const std::size_t> nodes = {};  // whose logits are wanted; empty: of all the tree's
  bool keep = true;                         // keys and values, for take_tree()
};

/// One run, filled row by row, so that what is wrong with a row is known before the run and as an
/// error of that row. What the rows point to must stay until the run has ended, and no two rows may
/// extend the same sequence.
class MixedRun {
 public:
  /// At most `most_rows` rows.
  MixedRun(std::shared_ptr<Engine> engine, std::size_t most_rows);
  MixedRun(const MixedRun&) = delete;
  MixedRun& operator=(const MixedRun&) = delete;

  /// Checks the row and takes the blocks it needs. Where that throws, this object is as before.
  /// @throws Error empty_input, token_out_of_range, context_full, cache_full, out_of_memory; for a
  ///         tree invalid_argument
  void add(const Addition& addition);
  void add(const TreeRow& tree);

  [[nodiscard]] std::size_t rows() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t tokens() const noexcept;

  /// Runs all rows and then appends to the sequences that are extended. Once.
  /// @throws Error out_of_memory, run_failed, logits_invalid; all sequences are then as they were
  void run();

  /// After run(): the logits of a row, which share the run's buffer.
  [[nodiscard]] Logits logits(std::size_t row) const noexcept;

  /// After run(): the logits of all rows, those of a row from first_logits(row) on.
  [[nodiscard]] Logits all_logits() const noexcept;
  [[nodiscard]] std::size_t first_logits(std::size_t row) const noexcept {
    return parts_[row].first_logits;
  }

  /// After run(): keys and values of a row that is a tree to keep.
  [[nodiscard]] std::unique_ptr<EvaluatedTree> take_tree(std::size_t row) noexcept;

 private:
  /// A tree as it is run where the logits after its prefix are wanted: the prefix's last token
  /// comes before the nodes.
  struct TreeWithPrefix {
    TokenTree tree;
    std::vector<std::size_t> nodes;
  };

  struct Part {
    Addition addition{};  // of an extension
    std::unique_ptr<EvaluatedTree> kept;
    std::unique_ptr<const TreeWithPrefix> with_prefix;  // its row refers to it
    std::size_t first_logits;
  };

  static std::unique_ptr<const TreeWithPrefix> with_prefix(const TreeRow& row);

  std::shared_ptr<Engine> engine_;  // first: blocks go back to its pool
  std::vector<cache::Growth> growths_;
  std::vector<Row> rows_;  // refer to growths_
  std::vector<Part> parts_;
  std::size_t num_logits_ = 0;
  std::optional<WorkspaceLease> lease_;
};

}  // namespace kvcache::inference
