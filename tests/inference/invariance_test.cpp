// On the CPU a token's results are the same bits, whatever is computed beside it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/bfloat16_cpu.hpp"
#include "support/instruction_sets.hpp"
#include "support/models.hpp"
#include "support/trees.hpp"

namespace kvcache {
namespace {

using test::Random;
using test::random_tokens;

/// All that a model says of one token: its logits and what further outputs there are.
std::vector<float> results_of(const Model& model, const Logits& logits, std::size_t row) {
  const std::span<const float> of_row = logits.row(row);
  std::vector<float> results(of_row.begin(), of_row.end());
  for (const OutputInfo& output : model.info().outputs) {
    const std::span<const float> vector = logits.output(output.name, row);
    results.insert(results.end(), vector.begin(), vector.end());
  }
  return results;
}

void expect_same_bits(const std::vector<float>& found, const std::vector<float>& alone,
                      const std::string& where) {
  ASSERT_EQ(found.size(), alone.size());
  if (std::memcmp(found.data(), alone.data(), found.size() * sizeof(float)) == 0) {
    return;
  }
  const auto at = static_cast<std::size_t>(std::ranges::mismatch(found, alone).in1 - found.begin());
  ADD_FAILURE() << where << ": element " << at << " is " << found[at] << ", computed alone "
                << alone[at];
}

/// Extends `sequence` token by token, each of them alone.
std::vector<std::vector<float>> alone(const Model& model, Sequence& sequence,
                                      std::span<const TokenId> tokens) {
  std::vector<std::vector<float>> rows;
  for (const TokenId token : tokens) {
    rows.push_back(results_of(model, sequence.extend(std::span(&token, 1)), 0));
  }
  return rows;
}

class Invariance : public test::OnInstructionSet {
 protected:
  void SetUp() override {
    if (test::models_dtype() != "float32") {
      GTEST_SKIP() << "arithmetic of 16 bits is ONNX Runtime's on the CPU";
    }
    OnInstructionSet::SetUp();
  }

  /// Loads one golden's model twice, and says how many tokens it takes.
  void load(Random& random) {
    const auto path = test::model_path(random.pick(test::golden_names()));
    ModelOptions options;
    options.num_threads = 1;
    options.block_len = 8;
    options.invariant_results = true;
    step_by_step_ = Model::load(path, options);
    options.num_threads = static_cast<int>(random.integer(1, 2));
    options.block_len = static_cast<std::size_t>(random.integer(1, 20));
    options.fuse_steps = random.chance(0.5);
    model_ = Model::load(path, options);
    positions_ = static_cast<std::int64_t>(model_->info().max_seq_len);
  }

  std::vector<TokenId> random_text(Random& random, std::int64_t at_most) {
    return random_tokens(random, model_->info(), random.integer(1, at_most));
  }

  std::optional<Model> step_by_step_;
  std::optional<Model> model_;
  std::int64_t positions_ = 0;

 private:
  test::ForcedCpu cpu_;
};

TEST_P(Invariance, OfChunks) {
  test::for_random_cases(12, [&](Random& random) {
    load(random);
    const std::vector<TokenId> text = random_text(random, positions_);
    Sequence steps = step_by_step_->new_sequence();
    const auto expected = alone(*step_by_step_, steps, text);
    Sequence sequence = model_->new_sequence();
    const std::int64_t longest = random.pick(std::array<std::int64_t, 4>{4, 12, 40, positions_});
    while (sequence.length() < text.size()) {
      const std::size_t first = sequence.length();
      const std::size_t count =
          std::min(static_cast<std::size_t>(random.integer(1, longest)), text.size() - first);
      const Logits logits = sequence.extend(std::span(text).subspan(first, count), LogitsFor::all);
      for (std::size_t row = 0; row < count; ++row) {
        expect_same_bits(results_of(*model_, logits, row), expected[first + row],
                         "token " + std::to_string(first + row) + " of a chunk of " +
                             std::to_string(count) + " behind " + std::to_string(first));
      }
    }
  });
}

TEST_P(Invariance, OfTrees) {
  test::for_random_cases(12, [&](Random& random) {
    load(random);
    const std::vector<TokenId> text = random_text(random, positions_ - 8);
    const TokenTree tree = test::random_tree(random, model_->info(), random.integer(1, 30), 8);
    Sequence sequence = model_->new_sequence();
    sequence.extend(text);
    const TreeEvaluation evaluation = sequence.evaluate(tree);
    Sequence steps = step_by_step_->new_sequence();
    alone(*step_by_step_, steps, text);
    for (std::size_t node = 0; node < tree.tokens.size(); ++node) {
      const std::vector<TokenId> of_node = test::text_of_node(text, tree, node);
      Sequence path = steps.fork();
      const auto expected = alone(*step_by_step_, path, std::span(of_node).subspan(text.size()));
      expect_same_bits(results_of(*model_, evaluation.logits(), node), expected.back(),
                       "node " + std::to_string(node) + " of " +
                           std::to_string(tree.tokens.size()) + " over " +
                           std::to_string(text.size()) + " tokens");
    }
  });
}

TEST_P(Invariance, OfBatches) {
  test::for_random_cases(12, [&](Random& random) {
    load(random);
    std::vector<std::vector<TokenId>> texts;
    std::vector<std::vector<TokenId>> added;
    std::vector<Sequence> sequences;
    const std::int64_t most_added = random.pick(std::array<std::int64_t, 3>{1, 4, 16});
    for (std::int64_t rows = random.integer(2, 20); rows > 0; --rows) {
      texts.push_back(random_text(random, positions_ - most_added));
      sequences.push_back(model_->new_sequence());
      sequences.back().extend(texts.back());
      added.push_back(random_text(random, most_added));
    }
    std::vector<Extension> batch;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      batch.push_back({&sequences[i], added[i], LogitsFor::all});
    }
    const std::vector<Logits> logits = extend(batch);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Sequence steps = step_by_step_->new_sequence();
      alone(*step_by_step_, steps, texts[i]);
      const auto expected = alone(*step_by_step_, steps, added[i]);
      for (std::size_t row = 0; row < expected.size(); ++row) {
        expect_same_bits(results_of(*model_, logits[i], row), expected[row],
                         "token " + std::to_string(row) + " of sequence " + std::to_string(i) +
                             " of " + std::to_string(texts.size()));
      }
    }
  });
}

TEST_P(Invariance, OfTheWayWithoutACache) {
  test::for_random_cases(12, [&](Random& random) {
    load(random);
    const std::vector<TokenId> text = random_text(random, positions_);
    Sequence steps = step_by_step_->new_sequence();
    const auto expected = alone(*step_by_step_, steps, text);
    const Logits logits = model_->forward_without_cache(text);
    expect_same_bits(results_of(*model_, logits, logits.rows() - 1), expected.back(),
                     "the last of " + std::to_string(text.size()) + " tokens without a cache");
  });
}

TEST(InvarianceOfAModel, IsSaidAndInsistedOn) {
  if (test::models_dtype() == "bfloat16") {
    GTEST_SKIP() << "a model in bfloat16 runs on a GPU only, where nothing is promised";
  }
  const test::ForcedCpu cpu;
  const auto path = test::model_path("plain");
  ModelOptions insisting;
  insisting.invariant_results = true;
  if (test::models_dtype() == "float32") {
    EXPECT_TRUE(Model::load(path, insisting).invariant_results());
    EXPECT_EQ(Model::load(path).invariant_results(),
              test::models_activations() != "bfloat16" || !kernels::multiplies_bfloat16());
    return;
  }
  EXPECT_FALSE(Model::load(path).invariant_results());
  test::expect_error(ErrorCode::invalid_argument,
                     "they are promised for float32 on the CPU: export with --dtype float32",
                     [&] { Model::load(path, insisting); });
}

INSTANTIATE_TEST_SUITE_P(Targets, Invariance,
                         test::with_and_without_amx(hwy::SupportedAndGeneratedTargets()),
                         test::instruction_set_name);

}  // namespace
}  // namespace kvcache
