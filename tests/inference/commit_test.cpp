// To which sequences a tree's path may be appended, whatever became of them and of the tree's own
// since, and what that costs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kvcache/windowed_sequence.hpp"
#include "support/temporary_directory.hpp"
#include "support/trees.hpp"
#include "support/window_models.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::expect_error;
using test::Random;
using test::random_tokens;

/// What is known of a sequence without it.
struct Past {
  std::vector<TokenId> tokens;
  std::vector<std::uint64_t> numbers;  // one for each time that a token was appended anywhere
  std::uint64_t slide = 0;             // of its window, of all that ever were; 0: none
  std::size_t stayed = 0;              // the first tokens, computed before it slid

  [[nodiscard]] bool begins_with_numbers_of(const Past& other) const {
    return other.numbers.size() <= numbers.size() &&
           std::equal(other.numbers.begin(), other.numbers.end(), numbers.begin());
  }
};

struct Text {
  Sequence sequence;
  Past past;
  std::size_t sinks = 0;  // those of its window, if it slid
};

struct Evaluated {
  TreeEvaluation evaluation;
  TokenTree tree;
  Past prefix;
};

struct Window {
  WindowedSequence text;
  Past past;
};

constexpr WindowOptions kSlidesSoon{.size = 11, .stride = 8, .sinks = 3, .sliding = Sliding::keep};

/// Random histories of sequences, with trees that were evaluated at any time before.
class Commits {
 public:
  Commits(Random& random, const Model& model) : random_(random), model_(model) {
    texts_.push_back({model.new_sequence(), {}});
  }

  /// Some contexts of windows among the sequences.
  void add_window() { windows_.push_back({WindowedSequence(model_, kSlidesSoon), {}}); }

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      for (const Text& text : texts_) {
        ASSERT_TRUE(std::ranges::equal(text.sequence.tokens(), text.past.tokens));
      }
      model_.check_cache_invariants();
    }
  }

  std::size_t committed = 0;
  std::size_t refused = 0;
  std::size_t compared = 0;  // commits that had to

 private:
  void step() {
    switch (random_.integer(0, windows_.empty() ? 10 : 12)) {
      case 0:
        return fork();
      case 1:
        return rewind();
      case 2:
        return again();
      case 3:
        return replace(any(), model_.new_sequence());
      case 4:
        return save_and_load();
      case 5:
      case 6:
        return evaluate();
      case 7:
        return extend();
      case 8:
      case 9:
      case 10:
        return commit();
      default:
        return slide();
    }
  }

  std::size_t up_to(std::size_t most) {
    return static_cast<std::size_t>(random_.integer(0, static_cast<std::int64_t>(most)));
  }
  Text& any() { return texts_[up_to(texts_.size() - 1)]; }

  void append(Past& past, std::span<const TokenId> tokens) {
    past.tokens.insert(past.tokens.end(), tokens.begin(), tokens.end());
    while (past.numbers.size() < past.tokens.size()) {
      past.numbers.push_back(++last_number_);
    }
  }

  void extend() {
    Text& text = any();
    const std::vector<TokenId> tokens =
        random_tokens(random_, model_.info(), random_.integer(1, 5));
    if (text.sequence.fits(tokens.size())) {
      text.sequence.extend(tokens);
      append(text.past, tokens);
    }
  }

  void fork() {
    const Text& text = any();
    Text forked{text.sequence.fork(), text.past, text.sinks};
    if (texts_.size() < 6) {
      texts_.push_back(std::move(forked));
    } else {
      any() = std::move(forked);
    }
  }

  static void rewind_to(Text& text, std::size_t length) {
    text.sequence.rewind(length);
    text.past.tokens.resize(length);
    text.past.numbers.resize(length);
    if (length <= text.sinks) {
      text.past.slide = 0;
      text.sinks = 0;
    }
    text.past.stayed = text.past.slide != 0 ? std::min(text.past.stayed, length) : 0;
  }

  void rewind() {
    Text& text = any();
    if (const std::size_t length = up_to(text.past.tokens.size());
        text.sequence.can_rewind_to(length)) {
      rewind_to(text, length);
    }
  }

  /// Back, and to the same tokens: computed anew.
  void again() {
    Text& text = any();
    const std::vector<TokenId> tokens = text.past.tokens;
    const std::size_t length = up_to(tokens.size());
    if (length < tokens.size() && text.sequence.can_rewind_to(length)) {
      rewind_to(text, length);
      const std::span<const TokenId> forgotten = std::span(tokens).subspan(length);
      text.sequence.extend(forgotten);
      append(text.past, forgotten);
    }
  }

  /// The same tokens in a sequence that has nothing in common with this one.
  void replace(Text& text, Sequence other) {
    if (text.past.slide != 0) {
      return;
    }
    if (other.length() == 0 && !text.past.tokens.empty()) {
      other.extend(text.past.tokens);
    }
    text.sequence = std::move(other);
    text.sinks = 0;
    text.past.numbers.clear();
    append(text.past, {});
  }

  void save_and_load() {
    Text& text = any();
    if (text.past.slide == 0) {
      const test::fs::path path = directory_.path() / "text.state";
      text.sequence.save(path);
      replace(text, model_.load_sequence(path));
    }
  }

  void slide() {
    Window& window = windows_[up_to(windows_.size() - 1)];
    const std::vector<TokenId> tokens =
        random_tokens(random_, model_.info(), random_.integer(1, 4));
    const std::uint64_t slides = window.text.slides();
    const std::uint64_t anew = window.text.tokens_encoded_anew();
    window.text.extend(tokens);
    const std::span<const TokenId> now = window.text.context().tokens();
    if (window.text.slides() == slides) {
      append(window.past, tokens);
    } else {
      const bool kept = window.text.tokens_encoded_anew() == anew;
      window.past.numbers.resize(kept ? 0 : kSlidesSoon.sinks);
      window.past.slide = kept ? ++last_slide_ : 0;
      window.past.stayed = kept ? kSlidesSoon.size : 0;
      window.past.tokens.assign(now.begin(), now.end());
      append(window.past, {});
    }
    ASSERT_TRUE(std::ranges::equal(now, window.past.tokens));
    any() = {window.text.context().fork(), window.past,
             window.past.slide != 0 ? kSlidesSoon.sinks : 0};
  }

  void evaluate() {
    const Text& text = any();
    std::size_t depth = 8;
    while (depth > 0 && !text.sequence.fits(depth)) {
      --depth;
    }
    if (depth == 0) {
      return;
    }
    TokenTree tree = test::random_tree(random_, model_.info(), random_.integer(1, 12), depth);
    std::vector<std::size_t> nodes;
    if (!text.past.tokens.empty() && random_.chance(0.3)) {
      nodes = {TokenTree::kPrefix};  // the nodes lie elsewhere then
    }
    if (!nodes.empty() && text.past.tokens.size() <= text.past.stayed) {
      expect_error(ErrorCode::invalid_argument, "whose last token was computed before",
                   [&] { static_cast<void>(text.sequence.evaluate(tree, nodes)); });
      return;
    }
    TreeEvaluation evaluation = text.sequence.evaluate(tree, nodes);
    Evaluated evaluated{std::move(evaluation), std::move(tree), text.past};
    if (trees_.size() < 5) {
      trees_.push_back(std::move(evaluated));
    } else {
      trees_[up_to(4)] = std::move(evaluated);
    }
  }

  void commit() {
    if (trees_.empty()) {
      return;
    }
    const Evaluated& tree = trees_[up_to(trees_.size() - 1)];
    const std::size_t node = up_to(tree.tree.tokens.size() - 1);
    const std::vector<TokenId> path = test::text_of_node(tree.prefix.tokens, tree.tree, node);
    Text& text = any();
    const std::vector<TokenId>& tokens = text.past.tokens;
    const bool may_be = text.past.slide == tree.prefix.slide &&
                        text.past.stayed == tree.prefix.stayed &&
                        tokens.size() >= tree.prefix.tokens.size() && tokens.size() <= path.size();
    const bool is = may_be && std::equal(tokens.begin(), tokens.end(), path.begin());
    const bool looks = may_be && !text.past.begins_with_numbers_of(tree.prefix);
    const std::uint64_t before = model_.cache_stats().tokens_compared;
    if (is) {
      append_path(text, tree, node, path);
      ++committed;
    } else {
      expect_error(
          ErrorCode::invalid_argument,
          "cannot commit node " + std::to_string(node) + ": the tree was evaluated after " +
              std::to_string(tree.prefix.tokens.size()) + " tokens, and the sequence's " +
              std::to_string(tokens.size()) + " are neither these nor these and a part of the path",
          [&] { text.sequence.commit(tree.evaluation, node); });
      ++refused;
    }
    EXPECT_EQ(model_.cache_stats().tokens_compared - before, looks ? tree.prefix.tokens.size() : 0);
    compared += looks ? 1 : 0;
  }

  /// The same as computing it.
  void append_path(Text& text, const Evaluated& tree, std::size_t node,
                   const std::vector<TokenId>& path) {
    Sequence computed = text.sequence.fork();
    const std::span<const TokenId> missing = std::span(path).subspan(text.past.tokens.size());
    if (!missing.empty()) {
      computed.extend(missing);
    }
    text.sequence.commit(tree.evaluation, node);
    append(text.past, missing);
    if (text.sequence.fits(1)) {
      const std::vector<TokenId> next = random_tokens(random_, model_.info(), 1);
      const Logits found = text.sequence.fork().extend(next);
      expect_close(found.last(), computed.extend(next).last());
    }
  }

  Random& random_;
  const Model& model_;
  test::TemporaryDirectory directory_;
  std::vector<Text> texts_;
  std::vector<Evaluated> trees_;
  std::vector<Window> windows_;
  std::uint64_t last_number_ = 0;
  std::uint64_t last_slide_ = 0;
};

/// Of many cases each kind of outcome is among them.
struct Outcomes {
  void add(const Commits& commits) {
    committed += commits.committed;
    refused += commits.refused;
    compared += commits.compared;
  }
  void expect_each() const {
    EXPECT_GT(committed, 0U);
    EXPECT_GT(refused, 0U);
    EXPECT_GT(compared, 0U);
  }

  std::size_t committed = 0;
  std::size_t refused = 0;
  std::size_t compared = 0;
};

TEST(Tree, IsCommittedWhereItsTokensAreAndNowhereElse) {
  Outcomes outcomes;
  test::for_random_cases(40, [&](Random& random) {
    const Model model = test::load_poisoned(random);
    Commits commits(random, model);
    commits.run(120);
    outcomes.add(commits);
  });
  outcomes.expect_each();
}

using CommitInWindows = test::InFloat32;

TEST_F(CommitInWindows, IsTheSameWhereLayersGiveBlocksBack) {
  Outcomes outcomes;
  for (const std::string name : test::kAnyWindowed) {
    SCOPED_TRACE(name);
    test::for_random_cases(8, [&](Random& random) {
      const Model model =
          test::load_with_window(name, static_cast<std::size_t>(random.integer(0, 12)));
      Commits commits(random, model);
      commits.run(120);
      outcomes.add(commits);
    });
  }
  outcomes.expect_each();
}

TEST_F(CommitInWindows, KnowsContextsThatSlid) {
  Outcomes outcomes;
  for (const std::string name : {"llama", "mistral-window", "gemma3"}) {
    SCOPED_TRACE(name);
    test::for_random_cases(8, [&](Random& random) {
      const Model model = test::load_with_window(name, {});
      Commits commits(random, model);
      commits.add_window();
      commits.add_window();
      commits.run(200);
      outcomes.add(commits);
    });
  }
  outcomes.expect_each();
}

/// Its cached keys and values are those that it had with the tokens that left, and what is appended
/// sees these. Computed again, it would have others, and what follows it too.
TEST_F(CommitInWindows, TheLastTokenFromBeforeTheSlideIsNotComputedAgain) {
  const Model model = test::load_with_window("gemma3", {});
  Random random(1);
  WindowedSequence text(model, kSlidesSoon);
  text.extend(random_tokens(random, model.info(), 20));  // 19 fill the window
  ASSERT_EQ(text.slides(), 1U);
  const TokenTree tree{{1, 2}, {-1, 0}};
  const std::vector<std::size_t> with_prefix{TokenTree::kPrefix, 0, 1};
  for (std::size_t length = text.context().length(); length > 0; --length) {
    SCOPED_TRACE(length);
    Sequence context = text.context().fork();
    context.rewind(length);
    if (length > kSlidesSoon.sinks && length <= kSlidesSoon.size) {
      expect_error(ErrorCode::invalid_argument,
                   "the logits after the prefix were asked for, whose last token was computed "
                   "before 8 tokens left the window",
                   [&] { static_cast<void>(context.evaluate(tree, with_prefix)); });
      EXPECT_EQ(context.length(), length);
      static_cast<void>(context.evaluate(tree));
      continue;
    }
    const TreeEvaluation evaluation = context.evaluate(tree, with_prefix);
    Sequence committed = context.fork();
    committed.commit(evaluation, 1);
    const std::vector<TokenId> next{3};
    const Logits found = committed.extend(next);
    context.extend(tree.tokens);
    expect_close(found.last(), context.extend(next).last());
  }
}

/// What a commit of six tokens at this depth copies, in bytes, and compares, in tokens.
std::pair<std::uint64_t, std::uint64_t> cost_at(const Model& model, std::int64_t depth) {
  Random random(1);
  Sequence sequence = model.new_sequence();
  if (depth > 0) {
    sequence.extend(random_tokens(random, model.info(), depth));
  }
  const TreeEvaluation evaluation =
      sequence.evaluate({{1, 2, 3, 4, 5, 6, 7}, {-1, 0, 1, 2, 3, 4, 5}});
  Sequence fork = sequence.fork();
  const CacheStats before = model.cache_stats();
  sequence.commit(evaluation, 2);
  sequence.commit(evaluation, 5);
  fork.commit(evaluation, 5);
  const CacheStats after = model.cache_stats();
  return {after.bytes_copied - before.bytes_copied, after.tokens_compared - before.tokens_compared};
}

TEST(Tree, CommitCostsTheSameAtAnyDepth) {
  ModelOptions options;
  options.block_len = 4;
  const Model model = Model::load(test::model_path(test::golden_names().front()), options);
  const auto [bytes, compared] = cost_at(model, 8);
  EXPECT_EQ(bytes, 12 * model.info().cache_bytes_per_token());
  EXPECT_EQ(compared, 0U);
  for (const std::int64_t depth : {0, 16, 32, 56}) {
    EXPECT_EQ(cost_at(model, depth), std::pair(bytes, compared)) << depth;
  }
}

}  // namespace
}  // namespace kvcache
