#include "support/window_models.hpp"

#include <cstring>

#include "support/trees.hpp"

namespace kvcache::test {

Model load_with_window(const std::string& name, std::optional<std::size_t> rewindable_tokens,
                       std::size_t block_len, std::size_t max_blocks) {
  ModelOptions options;
  options.block_len = block_len;
  options.poison_freed_blocks = true;
  options.rewindable_tokens = rewindable_tokens;
  if (max_blocks > 0) {
    options.cache_bytes =
        max_blocks * load_with_window(name, {}, block_len).cache_stats().block_bytes;
  }
  return Model::load(family_model_path(name), options);
}

void InFloat32::SetUp() {
  if (models_dtype() != "float32") {
    GTEST_SKIP() << "the families' models are compared in float32";
  }
}

void expect_same_bits(std::span<const float> found, std::span<const float> expected) {
  ASSERT_EQ(found.size(), expected.size());
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size_bytes()), 0);
}

void expect_same_bits(const Logits& found, const Logits& expected) {
  ASSERT_EQ(found.rows(), expected.rows());
  for (std::size_t row = 0; row < found.rows(); ++row) {
    expect_same_bits(found.row(row), expected.row(row));
  }
}

void extend_one_by_one(Sequence& text, int count) {
  for (int i = 0; i < count; ++i) {
    const TokenId token = i % 30;
    text.extend({&token, 1});
  }
}

void expect_next_as_uncached(const Model& model, Sequence& text, std::vector<TokenId>& tokens,
                             TokenId next) {
  tokens.push_back(next);
  expect_as_uncached(model, text.extend(std::span(tokens).last(1)).last(), tokens);
}

TreeEvaluation expect_tree_as_uncached(const Model& model, const Sequence& text,
                                       const std::vector<TokenId>& tokens) {
  const TokenTree tree{.tokens = {1, 2, 3}, .parents = {-1, 0, -1}};
  TreeEvaluation evaluation =
      text.evaluate(tree, std::vector<std::size_t>{TokenTree::kPrefix, 1, 2});
  expect_as_uncached(model, evaluation.logits().row(0), tokens);
  expect_as_uncached(model, evaluation.logits().row(1), text_of_node(tokens, tree, 1));
  expect_as_uncached(model, evaluation.logits().row(2), text_of_node(tokens, tree, 2));
  return evaluation;
}

}  // namespace kvcache::test
