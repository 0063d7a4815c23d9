#include "kvcache/sequence.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "inference/engine.hpp"
#include "inference/sequence_state.hpp"

namespace kvcache {
namespace {

using inference::SequenceState;

/// Blocks for positions up to `length` that the sequence does not hold yet.
std::vector<cache::Block> allocate_missing(const SequenceState& state, std::size_t length) {
  cache::BlockPool& pool = state.engine->pool();
  const std::size_t block_len = pool.shape().block_len;
  return pool.allocate((length + block_len - 1) / block_len - state.blocks.size());
}

void fill_block_table(const SequenceState& state, std::span<const cache::Block> added,
                      std::span<std::int32_t> table) {
  auto next = std::transform(state.blocks.begin(), state.blocks.end(), table.begin(),
                             [](const cache::Block& block) { return block.id(); });
  next = std::transform(added.begin(), added.end(), next,
                        [](const cache::Block& block) { return block.id(); });
  std::fill(next, table.end(), -1);
}

}  // namespace

Sequence::Sequence(std::shared_ptr<inference::Engine> engine)
    : state_(std::make_unique<SequenceState>()) {
  const std::size_t max_seq_len = engine->info().max_seq_len;
  state_->tokens.reserve(max_seq_len);  // so that decoding allocates nothing
  const std::size_t block_len = engine->pool().shape().block_len;
  state_->blocks.reserve((max_seq_len + block_len - 1) / block_len);
  state_->engine = std::move(engine);
}

Sequence::Sequence(Sequence&&) noexcept = default;
Sequence& Sequence::operator=(Sequence&&) noexcept = default;
Sequence::~Sequence() = default;

Logits Sequence::extend(std::span<const TokenId> tokens, LogitsFor logits_for) {
  SequenceState& state = *state_;
  const std::size_t depth = length();
  state.engine->check_tokens(tokens, depth);

  // Everything that can fail comes before the sequence is touched.
  std::vector<cache::Block> added = allocate_missing(state, depth + tokens.size());
  inference::WorkspaceLease workspace = state.engine->lease(inference::CacheUse::in_place);
  workspace->prepare_row(tokens, depth, logits_for);
  workspace->past_lengths()[0] = static_cast<std::int32_t>(depth);
  fill_block_table(state, added, workspace->block_table(0));
  workspace->run();

  std::ranges::move(added, std::back_inserter(state.blocks));
  std::ranges::copy(tokens, std::back_inserter(state.tokens));
  return Logits(std::move(workspace));
}

void Sequence::reset() noexcept {
  state_->blocks.clear();
  state_->tokens.clear();
}

std::size_t Sequence::length() const noexcept { return state_->tokens.size(); }

std::span<const TokenId> Sequence::tokens() const noexcept { return state_->tokens; }

bool Sequence::fits(std::size_t count) const noexcept {
  return count <= state_->engine->info().max_seq_len - length();
}

}  // namespace kvcache
