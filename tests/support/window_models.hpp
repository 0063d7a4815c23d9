// The families' models whose layers have windows, as the tests of windows load and compare them.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "support/models.hpp"

namespace kvcache::test {

inline constexpr const char* kWindowed = "mistral-window";  // in all layers
inline constexpr std::size_t kWindow = 7;                   // its tokens
inline constexpr std::array<const char*, 3> kSomeWindowed{"gemma2", "gemma3", "qwen2-windows"};
inline constexpr std::array<const char*, 4> kAnyWindowed{kWindowed, "gemma2", "gemma3",
                                                         "qwen2-windows"};

/// A family's model with short blocks, and with NaN in every freed block.
/// @param max_blocks of the budget; 0: the default
Model load_with_window(const std::string& name, std::optional<std::size_t> rewindable_tokens,
                       std::size_t block_len = 4, std::size_t max_blocks = 0);

/// Tests of the families' models, which are compared in float32.
class InFloat32 : public testing::Test {
 protected:
  void SetUp() override;
};

/// The same bits: of the same calls everywhere.
void expect_same_bits(std::span<const float> found, std::span<const float> expected);
void expect_same_bits(const Logits& found, const Logits& expected);

void extend_one_by_one(Sequence& text, int count);

/// `text` holds `tokens`, is extended by `next`, and so are they: the logits are those without it.
void expect_next_as_uncached(const Model& model, Sequence& text, std::vector<TokenId>& tokens,
                             TokenId next);

/// The same of a tree behind `tokens`, and of their own last logits; returns the evaluation, which
/// holds blocks.
TreeEvaluation expect_tree_as_uncached(const Model& model, const Sequence& text,
                                       const std::vector<TokenId>& tokens);

}  // namespace kvcache::test
