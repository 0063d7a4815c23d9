#include "kvcache/tree.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "support/models.hpp"
#include "support/trees.hpp"

namespace kvcache {
namespace {

using test::expect_as_uncached;
using test::expect_close;
using test::expect_error;
using test::Random;
using test::random_tokens;

std::int64_t random_length(Random& random, const Model& model, std::int64_t room) {
  return random.integer(0, static_cast<std::int64_t>(model.info().max_seq_len) - room);
}

Sequence random_prefix(Random& random, const Model& model, std::int64_t length) {
  Sequence prefix = model.new_sequence();
  if (length > 0) {
    prefix.extend(random_tokens(random, model.info(), length));
  }
  return prefix;
}

TEST(Tree, EveryNodeEqualsAPlainForwardOverItsPath) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    const Sequence prefix = random_prefix(random, model, random_length(random, model, 8));
    const std::size_t room = model.info().max_seq_len - prefix.length();
    const TokenTree tree = test::random_tree(random, model.info(), random.integer(1, 80), room);
    const TreeEvaluation evaluation = prefix.evaluate(tree);
    ASSERT_EQ(evaluation.logits().rows(), tree.tokens.size());
    for (std::size_t node = 0; node < tree.tokens.size(); ++node) {
      expect_as_uncached(model, evaluation.logits().row(node),
                         test::text_of_node(prefix.tokens(), tree, node));
    }
    model.check_cache_invariants();
  });
}

TEST(Tree, ChosenNodesHaveTheRowsOfAll) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    const Sequence prefix = random_prefix(random, model, random_length(random, model, 8));
    const TokenTree tree = test::random_tree(random, model.info(), random.integer(1, 30), 8);
    const TreeEvaluation all = prefix.evaluate(tree);
    std::vector<std::size_t> nodes(static_cast<std::size_t>(random.integer(1, 40)));
    std::ranges::generate(nodes, [&] {
      return static_cast<std::size_t>(
          random.integer(0, static_cast<std::int64_t>(tree.tokens.size()) - 1));
    });
    const TreeEvaluation chosen = prefix.evaluate(tree, nodes);
    ASSERT_EQ(chosen.logits().rows(), nodes.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      expect_close(chosen.logits().row(i), all.logits().row(nodes[i]));
    }
  });
}

TEST(Tree, ABatchOfTreesEqualsEachAlone) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    std::vector<Sequence> prefixes;
    std::vector<TokenTree> trees;
    for (std::int64_t i = random.integer(1, 4); i > 0; --i) {
      prefixes.push_back(i % 2 == 0 && !prefixes.empty()
                             ? prefixes.back().fork()
                             : random_prefix(random, model, random_length(random, model, 6)));
      trees.push_back(test::random_tree(random, model.info(), random.integer(1, 20), 6));
    }
    const std::vector<std::size_t> first_node{0};
    std::vector<TreeOfPrefix> batch;
    for (std::size_t i = 0; i < trees.size(); ++i) {
      batch.push_back({&prefixes[i], &trees[i]});
      if (random.chance(0.3)) {
        batch.back().nodes = first_node;
      }
    }
    const std::vector<TreeEvaluation> evaluations = evaluate(batch);
    ASSERT_EQ(evaluations.size(), batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const TreeEvaluation alone = prefixes[i].evaluate(trees[i], batch[i].nodes);
      ASSERT_EQ(evaluations[i].logits().rows(), alone.logits().rows());
      for (std::size_t row = 0; row < alone.logits().rows(); ++row) {
        expect_close(evaluations[i].logits().row(row), alone.logits().row(row));
      }
    }
  });
}

TEST(Tree, LeavesThePrefixAsItWasAndGivesItsBlocksBack) {
  Random random(1);
  const Model model = test::load_poisoned(random);
  Sequence prefix = random_prefix(random, model, 9);
  const std::size_t blocks = model.cache_stats().blocks_in_use;
  const TokenTree tree = test::random_tree(random, model.info(), 30, 5);
  { const TreeEvaluation evaluation = prefix.evaluate(tree); }
  EXPECT_EQ(prefix.length(), 9U);
  EXPECT_EQ(model.cache_stats().blocks_in_use, blocks);
  const TokenId next = 1;
  const Logits logits = prefix.extend({&next, 1});
  expect_as_uncached(model, logits.last(), prefix.tokens());
}

TEST(Tree, CommitComputesNothing) {
  Random random(2);
  const Model model = test::load_poisoned(random);
  Sequence sequence = random_prefix(random, model, 5);
  const TokenTree tree{{1, 2, 3, 4}, {-1, 0, 0, 2}};
  const TreeEvaluation evaluation = sequence.evaluate(tree);
  const CacheStats before = model.cache_stats();
  sequence.commit(evaluation, 3);
  const CacheStats after = model.cache_stats();
  EXPECT_EQ(sequence.length(), 8U);
  EXPECT_EQ(after.in_place_runs, before.in_place_runs);
  EXPECT_GE(after.bytes_copied - before.bytes_copied, 3 * model.info().cache_bytes_per_token());
  const TokenId next = 1;
  const Logits logits = sequence.extend({&next, 1});
  expect_as_uncached(model, logits.last(), sequence.tokens());
}

TEST(Tree, CommitsWhatIsMissingOfAPath) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    Sequence sequence = random_prefix(random, model, random_length(random, model, 12));
    const TokenTree tree = test::random_tree(random, model.info(), random.integer(1, 40), 10);
    const TreeEvaluation evaluation = sequence.evaluate(tree);
    const std::vector<TokenId> prefix(sequence.tokens().begin(), sequence.tokens().end());
    const auto node = static_cast<std::size_t>(
        random.integer(0, static_cast<std::int64_t>(tree.tokens.size()) - 1));
    std::vector<std::size_t> path{node};
    while (tree.parents[path.back()] >= 0) {
      path.push_back(static_cast<std::size_t>(tree.parents[path.back()]));
    }
    // Through some of its ancestors, in their order; forks of it stay what they were.
    for (std::size_t i = path.size(); i-- > 0;) {
      if (i == 0 || random.chance(0.5)) {
        const Sequence before = sequence.fork();
        sequence.commit(evaluation, path[i]);
        sequence.commit(evaluation, path[i]);  // nothing is missing
        EXPECT_EQ(before.length() + 1 <= sequence.length(), true);
      }
    }
    ASSERT_EQ(std::vector<TokenId>(sequence.tokens().begin(), sequence.tokens().end()),
              test::text_of_node(prefix, tree, node));
    if (sequence.fits(1)) {
      const TokenId next = 1;
      const Logits logits = sequence.extend({&next, 1});
      expect_as_uncached(model, logits.last(), sequence.tokens());
    }
    model.check_cache_invariants();
  });
}

TEST(Tree, ThePrefixIsANodeToo) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    Sequence sequence = random_prefix(random, model, 1 + random_length(random, model, 12));
    const TokenTree tree = test::random_tree(random, model.info(), random.integer(1, 40), 10);
    const auto last = static_cast<std::int64_t>(tree.tokens.size()) - 1;
    const auto node = static_cast<std::size_t>(random.integer(0, last));
    const std::vector<std::size_t> nodes{node, TokenTree::kPrefix, 0};
    const TreeEvaluation evaluation = sequence.evaluate(tree, nodes);
    ASSERT_EQ(evaluation.logits().rows(), 3U);
    expect_as_uncached(model, evaluation.logits().row(0),
                       test::text_of_node(sequence.tokens(), tree, node));
    expect_as_uncached(model, evaluation.logits().row(1), sequence.tokens());
    expect_as_uncached(model, evaluation.logits().row(2),
                       test::text_of_node(sequence.tokens(), tree, 0));
    sequence.commit(evaluation, node);
    if (sequence.fits(1)) {
      const TokenId next = 1;
      const Logits logits = sequence.extend({&next, 1});
      expect_as_uncached(model, logits.last(), sequence.tokens());
    }
    model.check_cache_invariants();
  });
}

TEST(Tree, ThePrefixAloneMayBeAskedFor) {
  Random random(3);
  const Model model = test::load_poisoned(random);
  const auto full = static_cast<std::int64_t>(model.info().max_seq_len);
  const std::vector<std::size_t> nodes{TokenTree::kPrefix};
  for (const std::int64_t length : {std::int64_t{1}, std::int64_t{5}, full}) {
    const Sequence sequence = random_prefix(random, model, length);
    const TreeEvaluation evaluation = sequence.evaluate({}, nodes);
    ASSERT_EQ(evaluation.logits().rows(), 1U);
    expect_as_uncached(model, evaluation.logits().row(0), sequence.tokens());
  }
  model.check_cache_invariants();
}

class BadTree : public testing::Test {
 protected:
  void expect_refused(ErrorCode code, const std::string& part, const TokenTree& tree,
                      std::span<const std::size_t> nodes = {}) {
    const std::size_t blocks = model_.cache_stats().blocks_in_use;
    expect_error(code, part, [&] { (void)sequence_.evaluate(tree, nodes); });
    EXPECT_EQ(model_.cache_stats().blocks_in_use, blocks);
  }

  Model model_ = Model::load(test::model_path("plain"));
  Sequence sequence_ = model_.new_sequence();
};

TEST_F(BadTree, IsRefusedBeforeAnythingIsComputed) {
  expect_refused(ErrorCode::invalid_argument, "2 tokens and 1 parents", {{1, 2}, {-1}});
  expect_refused(ErrorCode::invalid_argument, "node 0 of the tree has parent 0, must be an earlier",
                 {{1}, {0}});
  expect_refused(ErrorCode::invalid_argument, "node 1 of the tree has parent 2",
                 {{1, 2, 3}, {-1, 2, 0}});
  expect_refused(ErrorCode::invalid_argument, "has parent -2", {{1}, {-2}});
  expect_refused(ErrorCode::empty_input, "no tokens", {});
  expect_refused(ErrorCode::token_out_of_range, "token 1 of the input is -1", {{1, -1}, {-1, 0}});
  const std::vector<std::size_t> nodes{0, 2};
  const std::vector<std::size_t> prefix{TokenTree::kPrefix};
  expect_refused(ErrorCode::invalid_argument,
                 "the logits after the prefix were asked for, which is empty", {{1}, {-1}}, prefix);
  expect_refused(ErrorCode::invalid_argument, "logits of node 2 were asked for, the tree has 2",
                 {{1, 2}, {-1, 0}}, nodes);
}

TEST_F(BadTree, OnlyItsDepthMustFitTheContext) {
  const std::size_t positions = model_.info().max_seq_len;
  sequence_.extend(std::vector<TokenId>(positions - 1, TokenId{1}));
  EXPECT_NO_THROW((void)sequence_.evaluate({{1, 2, 3, 4}, {-1, -1, -1, -1}}));
  expect_refused(ErrorCode::context_full, "2 tokens do not fit", {{1, 2}, {-1, 0}});
}

TEST_F(BadTree, IsNotCommittedElsewhere) {
  sequence_.extend(std::vector<TokenId>{1, 2, 3});
  const TreeEvaluation evaluation = sequence_.evaluate({{5, 6}, {-1, 0}});
  expect_error(ErrorCode::invalid_argument, "cannot commit node 2: the tree has 2 nodes",
               [&] { sequence_.commit(evaluation, 2); });
  Sequence longer = sequence_.fork();
  longer.extend(std::vector<TokenId>{4});
  expect_error(ErrorCode::invalid_argument,
               "cannot commit node 0: the tree was evaluated after 3 tokens, and the sequence's 4 "
               "are neither these",
               [&] { longer.commit(evaluation, 0); });
  const Model other = Model::load(test::model_path("plain"));
  Sequence foreign = other.new_sequence();
  foreign.extend(std::vector<TokenId>{1, 2, 3});
  expect_error(ErrorCode::invalid_argument, "cannot commit",
               [&] { foreign.commit(evaluation, 0); });
  const TokenTree tree{{1}, {-1}};
  const std::vector<TreeOfPrefix> mixed{{&sequence_, &tree}, {&foreign, &tree}};
  expect_error(ErrorCode::invalid_argument, "element 1 of the batch has a prefix of another model",
               [&] { (void)evaluate(mixed); });
  expect_error(ErrorCode::empty_input, "the batch is empty", [] { (void)evaluate({}); });
  EXPECT_EQ(sequence_.length(), 3U);
  sequence_.commit(evaluation, 1);
  EXPECT_EQ(sequence_.length(), 5U);
}

}  // namespace
}  // namespace kvcache
