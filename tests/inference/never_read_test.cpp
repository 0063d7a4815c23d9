// What is given back is never read: the logits are the same bits as without, and plain ONNX
// Runtime's, whatever the history.
#include <gtest/gtest.h>

#include <array>
#include <span>
#include <string>
#include <vector>

#include "support/history.hpp"
#include "support/plain_runtime.hpp"
#include "support/trees.hpp"
#include "support/window_models.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::expect_same_bits;
using test::family_model_path;
using test::load_with_window;
using test::Random;
using test::random_tokens;

using NeverRead = test::InFloat32;

TEST_F(NeverRead, InExtensionsBatchesAndTrees) {
  test::for_random_cases(5, [](Random& random) {
    const auto block_len = static_cast<std::size_t>(random.integer(1, 9));
    for (const std::string name : test::kAnyWindowed) {
      SCOPED_TRACE(name);
      const Model gives =
          load_with_window(name, static_cast<std::size_t>(random.integer(0, 6)), block_len);
      const Model keeps = load_with_window(name, {}, block_len);
      std::array<Sequence, 4> texts{gives.new_sequence(), gives.new_sequence(),
                                    keeps.new_sequence(), keeps.new_sequence()};
      while (texts[0].fits(20) && texts[1].fits(20)) {
        const auto first = random_tokens(random, gives.info(), random.integer(1, 10));
        const auto second = random_tokens(random, gives.info(), random.integer(1, 10));
        const auto run = [&](std::size_t of) {
          const std::array<Extension, 2> batch{Extension{&texts[of], first, LogitsFor::all},
                                               Extension{&texts[of + 1], second, LogitsFor::all}};
          return kvcache::extend(batch);
        };
        const std::vector<Logits> found = run(0);
        const std::vector<Logits> expected = run(2);
        expect_same_bits(found[0], expected[0]);
        expect_same_bits(found[1], expected[1]);
        const TokenTree tree = test::random_tree(random, gives.info(), random.integer(1, 12), 8);
        const TreeEvaluation evaluated = texts[0].evaluate(tree);
        const TreeEvaluation reference = texts[2].evaluate(tree);
        expect_same_bits(evaluated.logits(), reference.logits());
        texts[0].commit(evaluated, tree.tokens.size() - 1);
        texts[2].commit(reference, tree.tokens.size() - 1);
        const TokenId next = 1;
        expect_same_bits(texts[0].extend({&next, 1}), texts[2].extend({&next, 1}));
      }
      EXPECT_GT(texts[0].first_cached(), 0U);
      EXPECT_LT(gives.cache_stats().bytes_in_use(), keeps.cache_stats().bytes_in_use());
    }
  });
}

TEST_F(NeverRead, InAnyHistory) {
  test::for_random_cases(4, [](Random& random) {
    for (const std::string name : test::kAnyWindowed) {
      SCOPED_TRACE(name);
      const auto rewindable = static_cast<std::size_t>(random.integer(0, 12));
      const auto block_len = static_cast<std::size_t>(random.integer(1, 6));
      const Model model = load_with_window(name, rewindable, block_len);
      const Model keeps = load_with_window(name, {}, block_len);
      test::PlainRuntime plain(family_model_path(name), model.info());
      const std::size_t vocab_size = model.info().vocab_size;
      test::History history(random, model, true, rewindable,
                            [&](std::span<const float> found, std::span<const TokenId> text) {
                              const std::vector<float> by_plain = plain.logits(text);
                              expect_close(found, std::span(by_plain).last(vocab_size));
                              Sequence kept = keeps.new_sequence();
                              const Logits by_keeping = kept.extend(text);
                              if (model.invariant_results()) {
                                expect_same_bits(found, by_keeping.last());
                              } else {
                                expect_close(found, by_keeping.last());
                              }
                            });
      history.run(40);
    }
  });
}

}  // namespace
}  // namespace kvcache
