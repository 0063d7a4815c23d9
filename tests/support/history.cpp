#include "support/history.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <utility>

#include "support/trees.hpp"

namespace kvcache::test {

History::History(Random& random, const Model& model, bool alone,
                 std::optional<std::size_t> rewindable_tokens, AlsoExpect also_expect)
    : random_(random),
      model_(model),
      alone_(alone),
      rewindable_tokens_(rewindable_tokens),
      also_expect_(std::move(also_expect)),
      known_(model) {
  add(model.new_sequence(), {});
}

void History::run(int steps) {
  for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
    step();
    check();
  }
  clear();
  EXPECT_EQ(model_.cache_stats().blocks_in_use, 0U);
  model_.check_cache_invariants();
  model_.trim_cache();
  EXPECT_EQ(model_.cache_stats().bytes_allocated, 0U);
  model_.check_cache_invariants();
}

void History::step() {
  switch (random_.integer(0, 9)) {
    case 0:
      return fork();
    case 1:
      return rewind();
    case 2:
      return drop();
    case 3:
      return evaluate_and_commit();
    case 4:
      return extend_batch();
    case 5:
      return save_and_load();
    case 6:
      return find_known();
    default:
      return extend();
  }
}

void History::clear() {
  texts_.clear();
  known_.clear();
}

void History::check() {
  if (alone_) {
    model_.check_cache_invariants();
  }
  for (Text& text : texts_) {
    text.longest = std::max(text.longest, text.tokens.size());
    ASSERT_EQ(text.sequence.length(), text.tokens.size());
    ASSERT_TRUE(std::ranges::equal(text.sequence.tokens(), text.tokens));
  }
}

void History::expect_as_plain(std::span<const float> found, std::span<const TokenId> text) const {
  expect_as_uncached(model_, found, text);
  if (also_expect_) {
    also_expect_(found, text);
  }
}

void History::add(Sequence sequence, std::vector<TokenId> tokens) {
  const std::size_t longest = tokens.size();
  texts_.push_back({std::move(sequence), std::move(tokens), longest});
}

History::Text& History::any() {
  return texts_[static_cast<std::size_t>(
      random_.integer(0, static_cast<std::int64_t>(texts_.size()) - 1))];
}

std::int64_t History::room(const Text& text) const {
  return static_cast<std::int64_t>(model_.info().max_seq_len - text.tokens.size());
}

std::vector<TokenId> History::new_tokens(const Text& text) const {
  return random_tokens(random_, model_.info(),
                       random_.integer(1, std::min<std::int64_t>(10, room(text))));
}

void History::extend() {
  Text& text = any();
  if (room(text) == 0) {
    return rewind();
  }
  const std::vector<TokenId> tokens = new_tokens(text);
  const Logits logits = text.sequence.extend(tokens);
  text.tokens.insert(text.tokens.end(), tokens.begin(), tokens.end());
  expect_as_plain(logits.last(), text.tokens);
}

void History::fork() {
  if (texts_.size() < 8) {
    const Text& text = any();
    const std::uint64_t copied = model_.cache_stats().bytes_copied;
    Sequence forked = text.sequence.fork();
    if (alone_) {
      EXPECT_EQ(model_.cache_stats().bytes_copied, copied);
    }
    const std::size_t longest = text.longest;
    add(std::move(forked), text.tokens);
    texts_.back().longest = longest;
  }
}

void History::rewind() {
  Text& text = any();
  const auto length =
      static_cast<std::size_t>(random_.integer(0, static_cast<std::int64_t>(text.tokens.size())));
  if (!text.sequence.can_rewind_to(length)) {
    ASSERT_TRUE(rewindable_tokens_);
    ASSERT_GT(text.longest, length + *rewindable_tokens_) << "less than was promised";
    expect_error(ErrorCode::invalid_argument, "were given back",
                 [&] { text.sequence.rewind(length); });
    return;
  }
  text.sequence.rewind(length);
  text.tokens.resize(length);
}

void History::save_and_load() {
  Text& text = any();
  const fs::path path = directory_.path() / "text.state";
  text.sequence.save(path);
  text.sequence = model_.load_sequence(path);
}

void History::find_known() {
  Text& text = any();
  if (text.tokens.empty()) {
    return;
  }
  if (text.sequence.first_cached() == 0) {
    known_.insert(text.sequence);
  }
  Sequence found = known_.acquire(text.tokens);
  EXPECT_EQ(found.first_cached(), 0U);
  expect_as_plain(found.extend(std::span(text.tokens).subspan(found.length())).last(), text.tokens);
  text.sequence = std::move(found);
  text.longest = text.tokens.size();
}

void History::drop() {
  if (texts_.size() > 1) {
    texts_.erase(texts_.begin() + random_.integer(0, static_cast<std::int64_t>(texts_.size()) - 1));
  }
}

void History::evaluate_and_commit() {
  Text& text = any();
  if (room(text) == 0) {
    return;
  }
  const TokenTree tree = random_tree(random_, model_.info(), random_.integer(1, 20),
                                     static_cast<std::size_t>(room(text)));
  const TreeEvaluation evaluation = text.sequence.evaluate(tree);
  for (int i = 0; i < 3; ++i) {
    const auto node = static_cast<std::size_t>(
        random_.integer(0, static_cast<std::int64_t>(tree.tokens.size()) - 1));
    expect_as_plain(evaluation.logits().row(node), text_of_node(text.tokens, tree, node));
  }
  if (random_.chance(0.7)) {
    const auto node = static_cast<std::size_t>(
        random_.integer(0, static_cast<std::int64_t>(tree.tokens.size()) - 1));
    text.sequence.commit(evaluation, node);
    text.tokens = text_of_node(text.tokens, tree, node);
  }
}

void History::extend_batch() {
  std::vector<Extension> batch;
  std::vector<std::vector<TokenId>> tokens;
  tokens.reserve(texts_.size());
  std::vector<Text*> extended;
  for (Text& text : texts_) {
    if (room(text) > 0 && random_.chance(0.7)) {
      tokens.push_back(new_tokens(text));
      batch.push_back(
          {&text.sequence, tokens.back(), random_.chance(0.5) ? LogitsFor::last : LogitsFor::all});
      extended.push_back(&text);
    }
  }
  if (batch.empty()) {
    return;
  }
  const std::vector<Logits> logits = kvcache::extend(batch);
  ASSERT_EQ(logits.size(), batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    ASSERT_EQ(logits[i].rows(),
              batch[i].logits_for == LogitsFor::last ? 1 : batch[i].tokens.size());
    extended[i]->tokens.insert(extended[i]->tokens.end(), tokens[i].begin(), tokens[i].end());
    expect_as_plain(logits[i].last(), extended[i]->tokens);
  }
}

}  // namespace kvcache::test
