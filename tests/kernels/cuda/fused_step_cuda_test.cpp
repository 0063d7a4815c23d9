// Whole decode steps as one kernel against double precision.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/fused_decoder_plan.hpp"
#include "kernels/cuda/fused_rows.hpp"
#include "kernels/cuda/fused_step.hpp"
#include "plan/cuda/fused_model.hpp"
#include "support/fused_case.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::DeviceArray;
using test::FusedCase;
using test::Random;
using test::StepInputs;
using test::wide;

/// Made of a run that every model with one of the kernels has one for.
template <typename T>
std::shared_ptr<plan::FusedModel> fused(const FusedCase<T>& of, std::string& why_not) {
  return fuse(of.plan(), of.weights(), of.binding(of.one_token(0)), test::multiprocessors_of_gpu(),
              nullptr, nullptr, why_not);
}

template <typename T>
class FusedStepOnCuda : public test::OnGpu {};
using Types = testing::Types<__half, __nv_bfloat16>;
TYPED_TEST_SUITE(FusedStepOnCuda, Types);

TYPED_TEST(FusedStepOnCuda, GivesTheLogitsOfRandomModels) {
  using T = TypeParam;
  test::for_random_cases(6, [](Random& random) {
    const std::int64_t heads = random.pick(std::vector<std::int64_t>{2, 2, 2, 12, 16});
    FusedCase<T> of(random, random.integer(1, 3), heads, 4 * heads * kFusedHeadDim);
    std::string why_not;
    const auto model = fused(of, why_not);
    ASSERT_NE(model, nullptr) << why_not;
    for (const std::int64_t depth : {0, 1, 3, 130, 690}) {
      of.grow(random, 0, depth);
      test::expect_step(*model, of, of.one_token(random.integer(0, of.vocab_size() - 1)));
      of.keep_token();
    }
  });
}

/// Sequences at different depths, prompts, trees, all mixed.
TYPED_TEST(FusedStepOnCuda, GivesTheLogitsOfSeveralTokens) {
  using T = TypeParam;
  test::for_random_cases(12, [](Random& random) {
    // Of GPT-2 medium's sizes it is the kernel for any.
    const std::int64_t heads = random.pick(std::vector<std::int64_t>{2, 2, 2, 12, 16});
    const int most = heads == 16 ? kMaxDecoderTokens : kMaxFusedTokens;
    FusedCase<T> of(random, random.integer(1, 3), heads, 4 * heads * kFusedHeadDim);
    std::string why_not;
    const auto model = fused(of, why_not);
    ASSERT_NE(model, nullptr) << why_not;
    ASSERT_EQ(model->most_tokens().few, most);
    for (std::int64_t row = 0; row < of.rows(); ++row) {
      of.grow(random, row, random.pick(std::vector<std::int64_t>{0, 1, 7, 130, 400, 660}));
    }
    for (int step = 0; step < 4; ++step) {
      test::expect_step(*model, of, of.random_tokens(random, random.integer(1, most)));
    }
  });
}

TYPED_TEST(FusedStepOnCuda, GivesTheSameBitsEveryTime) {
  using T = TypeParam;
  Random random(11);
  FusedCase<T> of(random, 2, 2, 512);
  of.grow(random, 0, 300);
  std::string why_not;
  const auto model = fused(of, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  for (std::int64_t row = 1; row < of.rows(); ++row) {
    of.grow(random, row, random.integer(0, 300));
  }
  for (const StepInputs& inputs :
       {of.one_token(0), of.random_tokens(random, 2), of.random_tokens(random, 8)}) {
    test::expect_same_bits(*model, of, inputs, 2000);
  }
}

TYPED_TEST(FusedStepOnCuda, AnIdOutsideTheTablesGivesNaN) {
  using T = TypeParam;
  Random random(12);
  FusedCase<T> of(random, 1, 2, 512);
  std::string why_not;
  const auto model = fused(of, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  const DeviceArray<TopLogit> best{std::vector<TopLogit>(kMaxFusedTokens)};
  StepInputs two = of.random_tokens(random, 2);
  two.row_offsets.back() = 2;
  two.logits_positions = {0, 1};
  two.ids[0] = of.vocab_size();
  two.parents.clear();
  two.append_positions.clear();
  for (const StepInputs& inputs : {of.one_token(of.vocab_size()), two}) {
    ASSERT_EQ(test::step_to_end(*model, of.binding(inputs), of.logits_on_device(), best.data()),
              cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const std::vector<T> logits = of.logits();
    for (std::int64_t i = 0; i < of.vocab_size(); ++i) {
      EXPECT_TRUE(std::isnan(wide(logits[static_cast<std::size_t>(i)])));
    }
  }
}

TYPED_TEST(FusedStepOnCuda, SaysWhyARunIsNoSuchStep) {
  using T = TypeParam;
  Random random(13);
  // With a kernel for many rows; with none.
  const FusedCase<T> fits(random, 1, 2, 512, {.most_vocabulary = kMostRowsVocabulary});
  const FusedCase<T> other_sizes(random, 1, 20, 4 * 20 * 32, {.head_dim = 32});
  const auto why_not = [](const plan::Plan& plan, const plan::CudaWeights& weights,
                          const plan::StepBinding& binding) {
    std::string reason;
    EXPECT_EQ(
        fuse(plan, weights, binding, test::multiprocessors_of_gpu(), nullptr, nullptr, reason),
        nullptr);
    return reason;
  };
  const plan::Plan plan = fits.plan();
  const StepInputs one = fits.one_token(0);
  EXPECT_EQ(why_not(plan, {}, fits.binding(one)), "its token embedding is of float32");
  plan::CudaWeights incomplete = fits.weights();
  incomplete.nodes.erase(plan::layer_node(0, "mlp.down"));
  EXPECT_EQ(why_not(plan, incomplete, fits.binding(one)),
            "it has norms behind its products, or a soft cap of its logits");
  plan::StepBinding many = fits.binding(one);
  many.tokens = plan::kMostFusedTokens + 1;
  EXPECT_TRUE(why_not(plan, fits.weights(), many).starts_with("it has too many tokens"));
  plan::StepBinding uncached = fits.binding(one);
  uncached.block_table = nullptr;
  EXPECT_EQ(why_not(plan, fits.weights(), uncached), "it has no cache");
  plan::StepBinding long_table = fits.binding(one);
  long_table.blocks_per_row = kMaxTablesBlocks + 1;
  EXPECT_EQ(why_not(plan, fits.weights(), long_table),
            "of so many tokens a captured graph is faster, or its block tables are too long for a "
            "launch");
  plan::StepBinding odd = fits.binding(one);
  odd.block_len = 24;
  EXPECT_EQ(why_not(plan, fits.weights(), odd), "block_len is no power of two, or under 8");
  EXPECT_EQ(why_not(other_sizes.plan(), other_sizes.weights(), other_sizes.binding(one)),
            "its layers are so small that a captured graph is faster");
}

}  // namespace
}  // namespace kvcache::kernels
