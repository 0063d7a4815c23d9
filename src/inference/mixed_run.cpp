#include "inference/mixed_run.hpp"

#include <utility>

#include "base/rounding.hpp"
#include "inference/tree_checks.hpp"

namespace kvcache::inference {

MixedRun::MixedRun(std::shared_ptr<Engine> engine, std::size_t most_rows)
    : engine_(std::move(engine)) {
  growths_.reserve(most_rows);  // rows refer to them
  rows_.reserve(most_rows);
  parts_.reserve(most_rows);
}

void MixedRun::add(const Addition& addition) {
  const SequenceState& state = *addition.state;
  const std::size_t depth = state.tokens.size();
  engine_->check_tokens(addition.tokens, state.next_position());
  addition.state->tokens.prepare_append();
  growths_.push_back(state.table.plan_growth(depth, addition.tokens.size()));
  rows_.push_back({.tokens = addition.tokens,
                   .parents = {},
                   .past_length = depth,
                   .text_position = state.next_position(),
                   .append_position = depth,
                   .table = state.table,
                   .growth = growths_.back(),
                   .logits_for = addition.logits_for});
  parts_.push_back(
      {.addition = addition, .kept = nullptr, .with_prefix = nullptr, .first_logits = num_logits_});
  num_logits_ += rows_.back().num_logits();
}

std::unique_ptr<const MixedRun::TreeWithPrefix> MixedRun::with_prefix(const TreeRow& row) {
  if (!asks_for_prefix(row.nodes)) {
    return nullptr;
  }
  auto changed = std::make_unique<TreeWithPrefix>();
  auto& [tokens, parents] = changed->tree;
  tokens.reserve(1 + row.tree->tokens.size());
  tokens.push_back(row.prefix->tokens.tokens().back());
  tokens.insert(tokens.end(), row.tree->tokens.begin(), row.tree->tokens.end());
  parents.reserve(tokens.size());
  parents.push_back(-1);
  for (const std::int32_t parent : row.tree->parents) {
    parents.push_back(parent + 1);
  }
  changed->nodes.reserve(row.nodes.size());
  for (const std::size_t node : row.nodes) {
    changed->nodes.push_back(node + 1);  // kPrefix becomes 0
  }
  return changed;
}

void MixedRun::add(const TreeRow& row) {
  const SequenceState& prefix = *row.prefix;
  check_tree(prefix, *row.tree, row.nodes);
  auto changed = with_prefix(row);
  const TokenTree& tree = changed ? changed->tree : *row.tree;
  const std::size_t block_len = engine_->pool().shape().block_len;
  std::unique_ptr<EvaluatedTree> kept;
  if (row.keep) {  // now, because nothing may fail once the run's sequences have changed
    kept =
        std::make_unique<EvaluatedTree>(EvaluatedTree{.engine = engine_,
                                                      .table = cache::BlockTable(engine_->pool()),
                                                      .prefix = prefix.tokens.prefix(),
                                                      .left = prefix.left,
                                                      .tree = *row.tree,
                                                      .first_place = changed ? 1U : 0U});
    kept->table.reserve(tree.tokens.size());
  }
  // Blocks of the tree's own, behind all of the prefix's.
  growths_.push_back({.writable_last = std::nullopt,
                      .added = engine_->pool().allocate(divide_up(tree.tokens.size(), block_len))});
  rows_.push_back({.tokens = tree.tokens,
                   .parents = tree.parents,
                   .past_length = prefix.tokens.size() - (changed ? 1 : 0),
                   .text_position = prefix.next_position() - (changed ? 1 : 0),
                   .append_position = round_up(prefix.tokens.size(), block_len),
                   .table = prefix.table,
                   .growth = growths_.back(),
                   .logits_for = LogitsFor::all,
                   .logits_nodes = changed ? std::span(changed->nodes) : row.nodes});
  num_logits_ += rows_.back().num_logits();
  parts_.push_back({.kept = std::move(kept),
                    .with_prefix = std::move(changed),
                    .first_logits = num_logits_ - rows_.back().num_logits()});
}

std::size_t MixedRun::tokens() const noexcept {
  std::size_t count = 0;
  for (const Row& row : rows_) {
    count += row.tokens.size();
  }
  return count;
}

void MixedRun::run() {
  lease_ = run_rows(*engine_, rows_);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (parts_[i].addition.state != nullptr) {
      append(parts_[i].addition, std::move(growths_[i]));
    } else if (parts_[i].kept) {
      parts_[i].kept->table.apply(std::move(growths_[i]));
    }
  }
}

Logits MixedRun::logits(std::size_t row) const noexcept {
  return {*lease_, parts_[row].first_logits, rows_[row].num_logits()};
}

Logits MixedRun::all_logits() const noexcept { return {*lease_, 0, num_logits_}; }

std::unique_ptr<EvaluatedTree> MixedRun::take_tree(std::size_t row) noexcept {
  return std::move(parts_[row].kept);
}

}  // namespace kvcache::inference
