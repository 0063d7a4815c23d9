// Random histories of everything a program can do with cached sequences, against plain forwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::Random;
using test::random_tokens;

/// A model with short blocks, so that tiny texts cross many, and with NaN in every freed block.
Model load_poisoned(Random& random) {
  constexpr std::size_t kBlockLens[] = {1, 3, 4, 8, 16};
  ModelOptions options;
  options.block_len = random.pick(std::span(kBlockLens));
  options.poison_freed_blocks = true;
  return Model::load(test::model_path(random.pick(test::golden_names())), options);
}

TokenTree random_tree(Random& random, const ModelInfo& info, std::int64_t nodes,
                      std::size_t most_depth) {
  TokenTree tree;
  tree.tokens = random_tokens(random, info, nodes);
  std::vector<std::size_t> depths;
  for (std::int64_t i = 0; i < nodes; ++i) {
    auto parent = static_cast<std::int32_t>(random.integer(-1, i - 1));
    while (parent >= 0 && depths[static_cast<std::size_t>(parent)] >= most_depth) {
      parent = tree.parents[static_cast<std::size_t>(parent)];
    }
    depths.push_back(parent < 0 ? 1 : depths[static_cast<std::size_t>(parent)] + 1);
    tree.parents.push_back(parent);
  }
  return tree;
}

/// The prefix and the tokens from the root to `node`.
std::vector<TokenId> text_of_node(std::span<const TokenId> prefix, const TokenTree& tree,
                                  std::size_t node) {
  std::vector<TokenId> path;
  for (auto at = static_cast<std::int32_t>(node); at >= 0;
       at = tree.parents[static_cast<std::size_t>(at)]) {
    path.push_back(tree.tokens[static_cast<std::size_t>(at)]);
  }
  std::vector<TokenId> text(prefix.begin(), prefix.end());
  text.insert(text.end(), path.rbegin(), path.rend());
  return text;
}

/// One run of random steps over a growing and shrinking set of sequences.
class History {
 public:
  History(Random& random, const Model& model) : random_(random), model_(model) {
    add(model.new_sequence(), {});
  }

  void step() {
    switch (random_.integer(0, 7)) {
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
      default:
        return extend();
    }
  }

  void check() const {
    model_.check_cache_invariants();
    for (const Text& text : texts_) {
      ASSERT_EQ(text.sequence.length(), text.tokens.size());
      ASSERT_TRUE(std::ranges::equal(text.sequence.tokens(), text.tokens));
    }
  }

  [[nodiscard]] bool empty() const { return texts_.empty(); }
  void clear() { texts_.clear(); }

 private:
  struct Text {
    Sequence sequence;
    std::vector<TokenId> tokens;
  };

  void add(Sequence sequence, std::vector<TokenId> tokens) {
    texts_.push_back({std::move(sequence), std::move(tokens)});
  }

  Text& any() {
    return texts_[static_cast<std::size_t>(
        random_.integer(0, static_cast<std::int64_t>(texts_.size()) - 1))];
  }

  std::int64_t room(const Text& text) const {
    return static_cast<std::int64_t>(model_.info().max_seq_len - text.tokens.size());
  }

  std::vector<TokenId> new_tokens(const Text& text) {
    return random_tokens(random_, model_.info(),
                         random_.integer(1, std::min<std::int64_t>(10, room(text))));
  }

  void expect_logits(std::span<const float> found, std::span<const TokenId> text) const {
    const Logits expected = model_.forward_without_cache(text);
    expect_close(found, expected.last());
    expect_same_greedy_token(found, expected.last());
  }

  /// The same argmax, or a tie within the tolerance.
  static void expect_same_greedy_token(std::span<const float> found,
                                       std::span<const float> expected) {
    const auto best = std::ranges::max_element(found) - found.begin();
    const float highest = std::ranges::max(expected);
    EXPECT_GE(expected[static_cast<std::size_t>(best)],
              highest - 2 * static_cast<float>(test::kTolerance) * std::abs(highest));
  }

  void extend() {
    Text& text = any();
    if (room(text) == 0) {
      return rewind();
    }
    const std::vector<TokenId> tokens = new_tokens(text);
    const Logits logits = text.sequence.extend(tokens);
    text.tokens.insert(text.tokens.end(), tokens.begin(), tokens.end());
    expect_logits(logits.last(), text.tokens);
  }

  void fork() {
    if (texts_.size() < 8) {
      const Text& text = any();
      const std::uint64_t copied = model_.cache_stats().bytes_copied;
      Sequence forked = text.sequence.fork();
      EXPECT_EQ(model_.cache_stats().bytes_copied, copied);
      add(std::move(forked), text.tokens);
    }
  }

  void rewind() {
    Text& text = any();
    const auto length =
        static_cast<std::size_t>(random_.integer(0, static_cast<std::int64_t>(text.tokens.size())));
    EXPECT_TRUE(text.sequence.can_rewind_to(length));
    text.sequence.rewind(length);
    text.tokens.resize(length);
  }

  void drop() {
    if (texts_.size() > 1) {
      texts_.erase(texts_.begin() +
                   random_.integer(0, static_cast<std::int64_t>(texts_.size()) - 1));
    }
  }

  void evaluate_and_commit() {
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
      expect_logits(evaluation.logits().row(node), text_of_node(text.tokens, tree, node));
    }
    if (random_.chance(0.7)) {
      const auto node = static_cast<std::size_t>(
          random_.integer(0, static_cast<std::int64_t>(tree.tokens.size()) - 1));
      text.sequence.commit(evaluation, node);
      text.tokens = text_of_node(text.tokens, tree, node);
    }
  }

  void extend_batch() {
    std::vector<Extension> batch;
    std::vector<std::vector<TokenId>> tokens;
    tokens.reserve(texts_.size());
    std::vector<Text*> extended;
    for (Text& text : texts_) {
      if (room(text) > 0 && random_.chance(0.7)) {
        tokens.push_back(new_tokens(text));
        batch.push_back({&text.sequence, tokens.back(),
                         random_.chance(0.5) ? LogitsFor::last : LogitsFor::all});
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
      expect_logits(logits[i].last(), extended[i]->tokens);
    }
  }

  Random& random_;
  const Model& model_;
  std::vector<Text> texts_;
};

TEST(History, EveryStepEqualsAPlainForward) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = load_poisoned(random);
    History history(random, model);
    for (int i = 0; i < 30 && !testing::Test::HasFailure(); ++i) {
      history.step();
      history.check();
    }
    history.clear();
    EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
    model.check_cache_invariants();
    model.trim_cache();
    EXPECT_EQ(model.cache_stats().bytes_allocated, 0U);
    model.check_cache_invariants();
  });
}

}  // namespace
}  // namespace kvcache
