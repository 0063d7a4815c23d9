#include "kvcache/sequence.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>

#include "base/throw_error.hpp"
#include "cache/saved_state.hpp"
#include "inference/extend.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {

using inference::EvaluatedTree;
using inference::SequenceState;
using inference::TokenHistory;

Sequence::Sequence(std::shared_ptr<inference::Engine> engine) try
    : state_(std::make_unique<SequenceState>(std::move(engine))) {
} catch (...) {
  rethrow_as_error(kRun);
}

Sequence::Sequence(std::unique_ptr<SequenceState> state) : state_(std::move(state)) {}
Sequence::Sequence(Sequence&&) noexcept = default;
Sequence& Sequence::operator=(Sequence&&) noexcept = default;
Sequence::~Sequence() = default;

Logits Sequence::extend(std::span<const TokenId> tokens, LogitsFor logits_for) try {
  const inference::Addition addition{state_.get(), tokens, logits_for};
  const std::size_t rows = addition.num_logits();
  return {inference::extend({&addition, 1}), 0, rows};
} catch (...) {
  rethrow_as_error(kRun);
}

Sequence Sequence::fork() const try {
  auto state = std::make_unique<SequenceState>(state_->engine, state_->tokens.fork());
  state->table = state_->table.share();
  state->left = state_->left;
  state->keeps_all = state_->keeps_all;
  return Sequence(std::move(state));
} catch (...) {
  rethrow_as_error(kRun);
}

void Sequence::save(const std::filesystem::path& path) const try {
  if (const inference::LeftTokens& left = state_->left; left.count > 0) {
    throw_error(ErrorCode::state_not_saved,
                "{} tokens left the sequence when its window slid, and the keys and values of what "
                "stays were computed with them, which a saved state cannot say; save it before it "
                "slides, or save a sequence that its tokens are encoded into anew",
                left.count);
  }
  cache::save_state(path, state_->engine->info().digest, tokens(), state_->table);
} catch (...) {
  rethrow_as_error(
      {"the sequence was not saved", ErrorCode::state_not_saved, ErrorCode::state_not_saved});
}

bool Sequence::can_rewind_to(std::size_t length) const noexcept {
  return length == 0 || (length <= this->length() && length >= state_->shortest_rewind().length);
}

void Sequence::rewind(std::size_t length) {
  if (length > this->length()) {
    throw_error(ErrorCode::invalid_argument,
                "cannot rewind to {} tokens, the sequence has {}; ask can_rewind_to first", length,
                this->length());
  }
  if (!can_rewind_to(length)) {
    const SequenceState::ShortestRewind shortest = state_->shortest_rewind();
    const bool apart = state_->engine->pool().groups().size() > 1;
    throw_error(ErrorCode::invalid_argument,
                "cannot rewind to {} tokens: keys and values of the first {} were given back{}, "
                "and a token sees {}{}, itself included; rewind to 0 or to between {} and {} "
                "tokens, or load the model with more rewindable_tokens than {}",
                length, shortest.first_cached, apart ? " in some layers" : "", shortest.window,
                apart ? " there" : "", shortest.length, this->length(),
                state_->engine->rewindable_tokens());
  }
  state_->table.shrink_to(length);
  state_->tokens.shrink_to(length);
  if (length <= state_->left.first) {
    state_->left = {};  // what is there now is the text's beginning, computed with nothing else
  }
  state_->left.stayed = std::min(state_->left.stayed, length);
}

std::size_t Sequence::first_cached() const noexcept { return state_->table.first_cached_in_all(); }

void Sequence::reset() noexcept {
  state_->table.shrink_to(0);
  state_->tokens.shrink_to(0);
  state_->left = {};
}

TreeEvaluation Sequence::evaluate(const TokenTree& tree, std::span<const std::size_t> nodes) const
    try {
  const std::array<TreeOfPrefix, 1> batch{TreeOfPrefix{this, &tree, nodes}};
  return std::move(kvcache::evaluate(batch).front());
} catch (...) {
  rethrow_as_error(kRun);
}

namespace {

/// The nodes from the root to `node`.
std::vector<std::size_t> path_to(const TokenTree& tree, std::size_t node) {
  std::vector<std::size_t> path;
  for (auto at = static_cast<std::int32_t>(node); at >= 0;
       at = tree.parents[static_cast<std::size_t>(at)]) {
    path.push_back(static_cast<std::size_t>(at));
  }
  std::ranges::reverse(path);
  return path;
}

/// Whether a sequence begins with a tree's prefix. Tokens are compared only where it came to them
/// by a way of its own.
bool begins_with(const SequenceState& state, const TokenHistory::Prefix& prefix) {
  if (state.tokens.shares(prefix)) {
    return true;
  }
  state.engine->count_compared(prefix.size());
  return std::ranges::equal(state.tokens.tokens().first(prefix.size()), prefix.tokens());
}

/// How many of the path's nodes a sequence has already, behind the prefix of their tree; nothing
/// where it is another sequence.
std::optional<std::size_t> committed_nodes(const SequenceState& state,
                                           const EvaluatedTree& evaluated,
                                           std::span<const std::size_t> path) {
  const std::span<const TokenId> tokens = state.tokens.tokens();
  const std::size_t prefix = evaluated.prefix.size();
  if (state.engine != evaluated.engine || state.left != evaluated.left || tokens.size() < prefix ||
      tokens.size() > prefix + path.size() || !begins_with(state, evaluated.prefix)) {
    return std::nullopt;
  }
  const std::size_t committed = tokens.size() - prefix;
  for (std::size_t i = 0; i < committed; ++i) {
    if (tokens[prefix + i] != evaluated.tree.tokens[path[i]]) {
      return std::nullopt;
    }
  }
  return committed;
}

/// Copies keys and values of the nodes to the sequence's end, those that lie side by side on both
/// sides at once.
void copy_nodes(const EvaluatedTree& evaluated, std::span<const std::size_t> nodes,
                const SequenceState& state) {
  const std::size_t block_len = state.table.block_len();
  const std::size_t end = state.tokens.size();
  for (std::size_t i = 0; i < nodes.size();) {
    const std::size_t from = evaluated.place_of(nodes[i]);
    const std::size_t room = block_len - std::max(from % block_len, (end + i) % block_len);
    std::size_t count = 1;
    while (count < room && i + count < nodes.size() && nodes[i + count] == nodes[i] + count) {
      ++count;
    }
    state.engine->pool().copy_tokens(evaluated.table.block_of(from),
                                     evaluated.table.offset_of(from), state.table.block_of(end + i),
                                     state.table.offset_of(end + i), count);
    i += count;
  }
}

}  // namespace

void Sequence::commit(const TreeEvaluation& evaluation, std::size_t node) try {
  const EvaluatedTree& evaluated = *evaluation.tree_;
  SequenceState& state = *state_;
  if (node >= evaluated.tree.tokens.size()) {
    throw_error(ErrorCode::invalid_argument, "cannot commit node {}: the tree has {} nodes", node,
                evaluated.tree.tokens.size());
  }
  const std::vector<std::size_t> path = path_to(evaluated.tree, node);
  const std::optional<std::size_t> committed = committed_nodes(state, evaluated, path);
  if (!committed) {
    throw_error(ErrorCode::invalid_argument,
                "cannot commit node {}: the tree was evaluated after {} tokens, and the sequence's "
                "{} are neither these nor these and a part of the path to the node; evaluate the "
                "tree again, or commit before the sequence changes",
                node, evaluated.prefix.size(), state.tokens.size());
  }
  const std::span<const std::size_t> missing = std::span(path).subspan(*committed);
  state.tokens.prepare_append();
  state.table.apply(state.table.plan_growth(length(), missing.size()));
  copy_nodes(evaluated, missing, state);
  for (const std::size_t added : missing) {
    state.tokens.append({&evaluated.tree.tokens[added], 1});
  }
  state.give_back_unseen();
} catch (...) {
  rethrow_as_error(kRun);
}

std::size_t Sequence::length() const noexcept { return state_->tokens.size(); }

std::span<const TokenId> Sequence::tokens() const noexcept { return state_->tokens.tokens(); }

bool Sequence::fits(std::size_t count) const noexcept {
  return count <= state_->engine->info().max_seq_len - state_->next_position();
}

}  // namespace kvcache
