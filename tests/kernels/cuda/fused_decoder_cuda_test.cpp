// Whole decode steps of models in Llama's form as one kernel against double precision.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/fused_decoder.hpp"
#include "support/decoder_case.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::DecoderCase;
using test::DecoderForm;
using test::DeviceArray;
using test::Doubles;
using test::Random;
using test::StepInputs;
using test::wide;

template <typename T>
std::shared_ptr<plan::FusedModel> fused_decoder_of(const DecoderCase<T>& of, std::string& why_not) {
  return fuse(of.plan(), of.weights(), of.binding(of.one_token(0, 0)),
              test::multiprocessors_of_gpu(), nullptr, nullptr, why_not);
}

template <typename T>
class FusedDecoderOnCuda : public test::OnGpu {};
using Types = testing::Types<__half, __nv_bfloat16>;
TYPED_TEST_SUITE(FusedDecoderOnCuda, Types);

/// Whether a step gives the expected logits and best token, and leaves the expected cache.
template <typename T>
void expect_decoder_step(plan::FusedModel& model, DecoderCase<T>& of, const StepInputs& inputs) {
  const Doubles expected = of.expected(inputs);
  const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
  ASSERT_EQ(test::step_to_end(model, of.binding(inputs), of.logits_on_device(), best.data()),
            cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<T> logits = of.logits();
  test::expect_logits(std::span<const T>(logits), expected, best.to_host()[0]);
  if (testing::Test::HasFatalFailure()) {
    return;
  }
  EXPECT_LE(of.largest_cache_error(), 8 * test::kStepError<T>);
}

TYPED_TEST(FusedDecoderOnCuda, GivesTheLogitsOfRandomModels) {
  using T = TypeParam;
  test::for_random_cases(20, [](Random& random) {
    DecoderCase<T> of(random, DecoderForm::random(random));
    std::string why_not;
    const auto model = fused_decoder_of(of, why_not);
    ASSERT_NE(model, nullptr) << why_not;
    for (const std::int64_t length : {0, 1, 7, 64, 130, 700}) {
      of.grow(random, length);
      expect_decoder_step(*model, of,
                          of.one_token(random.integer(0, of.form().vocab_size - 1),
                                       random.integer(0, DecoderCase<T>::kContext - 1)));
      of.keep_token();
    }
  });
}

TYPED_TEST(FusedDecoderOnCuda, GivesTheSameBitsEveryTime) {
  using T = TypeParam;
  Random random(21);
  DecoderForm form;
  form.layers = 3;
  form.heads = 8;
  form.kv_heads = 2;
  form.hidden = 512;
  form.inner = 1024;
  form.vocab_size = 3000;
  DecoderCase<T> of(random, form);
  of.grow(random, 300);
  std::string why_not;
  const auto model = fused_decoder_of(of, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
  const StepInputs inputs = of.one_token(7, 300);
  std::vector<T> first;
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(test::step_to_end(*model, of.binding(inputs), of.logits_on_device(), best.data()),
              cudaSuccess);
    if (i % 100 == 0) {
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      const std::vector<T> logits = of.logits();
      first = first.empty() ? logits : first;
      ASSERT_EQ(std::memcmp(first.data(), logits.data(), logits.size() * sizeof(T)), 0);
    }
  }
}

TYPED_TEST(FusedDecoderOnCuda, WhatIsOutsideTheTablesGivesNaN) {
  using T = TypeParam;
  Random random(22);
  DecoderForm form;
  form.heads = 2;
  DecoderCase<T> of(random, form);
  std::string why_not;
  const auto model = fused_decoder_of(of, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
  for (const StepInputs& inputs :
       {of.one_token(form.vocab_size, 0), of.one_token(-1, 0),
        of.one_token(0, DecoderCase<T>::kContext), of.one_token(0, -1)}) {
    ASSERT_EQ(test::step_to_end(*model, of.binding(inputs), of.logits_on_device(), best.data()),
              cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    for (const T logit : of.logits()) {
      EXPECT_TRUE(std::isnan(wide(logit)));
    }
    EXPECT_TRUE(std::isnan(best.to_host()[0].logit));
  }
}

TYPED_TEST(FusedDecoderOnCuda, SaysWhyAModelOrARunIsNoSuchStep) {
  using T = TypeParam;
  Random random(23);
  const DecoderForm form;
  const DecoderCase<T> of(random, form);
  const auto why_not = [&](const plan::CudaWeights& weights, const plan::StepBinding& binding) {
    std::string reason;
    EXPECT_EQ(
        fuse(of.plan(), weights, binding, test::multiprocessors_of_gpu(), nullptr, nullptr, reason),
        nullptr);
    return reason;
  };
  const plan::StepBinding one = of.binding(of.one_token(0, 0));
  plan::StepBinding two = one;
  two.tokens = 2;
  EXPECT_EQ(why_not(of.weights(), two), "of models in this form only a step of one token is");
  plan::StepBinding odd = one;
  odd.block_len = 24;
  EXPECT_EQ(why_not(of.weights(), odd), "block_len is no power of two, or under 8");
  plan::StepBinding long_table = one;
  long_table.blocks_per_row = kMaxDecoderTable + 1;
  EXPECT_EQ(why_not(of.weights(), long_table), "its block table is too long for a launch");
  plan::CudaWeights incomplete = of.weights();
  incomplete.nodes.erase(plan::layer_node(0, "mlp.down"));
  EXPECT_EQ(why_not(incomplete, one),
            "it has norms behind its products, or a soft cap of its logits");
  plan::CudaWeights windowed = of.weights();
  std::get<AttentionRulesCuda<T>>(windowed.nodes.at(plan::layer_node(0, "attention"))).window = 8;
  EXPECT_EQ(why_not(windowed, one), "its attention has a window");
  plan::CudaWeights capped = of.weights();
  std::get<AttentionRulesCuda<T>>(capped.nodes.at(plan::layer_node(0, "attention"))).soft_cap = 8;
  EXPECT_EQ(why_not(capped, one), "its attention has a soft cap");
  plan::CudaWeights centred = of.weights();
  std::get<HeadCudaArgs<T>>(centred.nodes.at(plan::kHeadNode)).norm.is_rms = false;
  EXPECT_EQ(why_not(centred, one), "its norms are no RMSNorm");

  DecoderForm wide_heads;
  wide_heads.head_dim = 96;
  wide_heads.rotary_dims = 96;
  const DecoderCase<T> of_wide_heads(random, wide_heads);
  std::string reason;
  EXPECT_EQ(fused_decoder_of(of_wide_heads, reason), nullptr);
  EXPECT_EQ(reason, "its heads have neither 64 nor 128 elements");
}

}  // namespace
}  // namespace kvcache::kernels
