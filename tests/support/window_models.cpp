#include "support/window_models.hpp"

#include <cstring>

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

}  // namespace kvcache::test
