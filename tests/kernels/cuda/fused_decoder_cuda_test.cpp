// Whole decode steps of models in Llama's form as one kernel against double precision.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/cuda/fused_decoder.hpp"
#include "plan/cuda/fused_decoder_model.hpp"
#include "plan/cuda/not_fused.hpp"
#include "support/decoder_case.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::DecoderCase;
using test::DecoderForm;
using test::DeviceArray;
using test::Doubles;
using test::largest_difference;
using test::largest_logit;
using test::Random;
using test::StepInputs;
using test::wide;

template <typename Weights>
std::shared_ptr<plan::FusedModel> fused_decoder_of(const DecoderCase<Weights>& of,
                                                   std::string& why_not,
                                                   int blocks = test::multiprocessors_of_gpu()) {
  using T = typename Weights::Vector;
  // Small models in GPT-2's form have other kernels, too, which fuse() would take.
  if constexpr (!std::is_same_v<T, float>) {
    try {
      return plan::fuse_decoder<T>(of.plan(), of.weights(), of.binding(of.one_token(0, 0)), blocks,
                                   nullptr);
    } catch (const plan::NotFused& reason) {
      why_not = reason.what();
      return nullptr;
    }
  }
  return fuse(of.plan(), of.weights(), of.binding(of.one_token(0, 0)), blocks, nullptr, nullptr,
              why_not);
}

/// Why nothing is made of these.
std::string why_not_fused(const plan::Plan& plan, const plan::CudaWeights& weights,
                          const plan::StepBinding& binding) {
  std::string reason;
  EXPECT_EQ(fuse(plan, weights, binding, test::multiprocessors_of_gpu(), nullptr, nullptr, reason),
            nullptr);
  return reason;
}

/// Whether inputs of products are rounded to integers.
template <typename Weights>
constexpr bool kRounds = std::is_same_v<typename Weights::Vector, float>;

template <typename Weights>
class FusedDecoderOnCuda : public test::OnGpu {
 protected:
  static DecoderForm random_form(Random& random) {
    return kRounds<Weights> ? DecoderForm::random_quantized(random) : DecoderForm::random(random);
  }
};
using Types = testing::Types<test::SixteenBitWeights<__half>,
                             test::SixteenBitWeights<__nv_bfloat16>, test::QuantizedWeights<float>,
                             test::QuantizedWeights<__half>, test::QuantizedWeights<__nv_bfloat16>>;
TYPED_TEST_SUITE(FusedDecoderOnCuda, Types);

/// What a token's logits may differ by, of the largest of those expected. Where inputs of products
/// are rounded to integers and `logits` differ by more than usual, three times what the expected
/// ones, expect(places), move by as those inputs do by some last places of float32: a rounding to
/// int8 or to the cache's type that they decide is worth more than they are.
template <typename Weights, typename Expect>
double largest_error(std::span<const typename Weights::Vector> logits, const Doubles& expected,
                     const Expect& expect) {
  const double largest = largest_logit(expected);
  if (!kRounds<Weights> || largest_difference(logits, expected) <= Weights::kError * largest) {
    return Weights::kError;
  }
  double most = 0;
  for (const double places : {0x1p-22, 0x1p-21, 0x1p-20}) {
    most = std::max(most, largest_difference<double>(expect(places), expected));
  }
  (void)expect(0);  // what the step appends, as it was expected
  return std::max(Weights::kError, 3 * most / largest);
}

/// Whether a step gives the expected logits and best token, and leaves the expected cache.
template <typename Weights>
void expect_decoder_step(plan::FusedModel& model, DecoderCase<Weights>& of,
                         const StepInputs& inputs) {
  using T = typename Weights::Vector;
  const Doubles expected = of.expected(inputs);
  const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
  ASSERT_EQ(test::step_to_end(model, of.binding(inputs), of.logits_on_device(), best.data()),
            cudaSuccess);
  const std::vector<T> logits = of.logits();
  const double error =
      largest_error<Weights>(std::span<const T>(logits), expected,
                             [&](double places) { return of.expected(inputs, places); });
  test::expect_logits(std::span<const T>(logits), expected, best.to_host()[0], 0, error);
  if (testing::Test::HasFatalFailure()) {
    return;
  }
  EXPECT_LE(of.largest_cache_error(), 8 * error);
}

TYPED_TEST(FusedDecoderOnCuda, GivesTheLogitsOfRandomModels) {
  test::for_random_cases(20, [](Random& random) {
    DecoderCase<TypeParam> of(random, TestFixture::random_form(random));
    std::string why_not;
    // Few blocks have as many columns each as those of a large model.
    const int blocks = random.pick(std::vector<int>{test::multiprocessors_of_gpu(), 40, 8});
    const auto model = fused_decoder_of(of, why_not, blocks);
    ASSERT_NE(model, nullptr) << why_not;
    for (const std::int64_t length : {0, 1, 7, 64, 130, 700}) {
      of.grow(random, length);
      expect_decoder_step(*model, of,
                          of.one_token(random.integer(0, of.form().vocab_size - 1),
                                       random.integer(0, DecoderCase<TypeParam>::kContext - 1)));
      of.keep_token();
    }
  });
}

// Sequences, prompts and trees in any mix.
TYPED_TEST(FusedDecoderOnCuda, GivesTheLogitsOfSeveralTokens) {
  using T = typename TypeParam::Vector;
  test::for_random_cases(20, [](Random& random) {
    DecoderCase<TypeParam> of(random, TestFixture::random_form(random));
    std::string why_not;
    const int blocks = random.pick(std::vector<int>{test::multiprocessors_of_gpu(), 40, 16});
    const auto model = fused_decoder_of(of, why_not, blocks);
    ASSERT_NE(model, nullptr) << why_not;
    const int most = std::max(1, model->most_tokens().few);
    for (const std::int64_t length : {0, 7, 64, 130, 700}) {
      of.grow(random, length);
      const StepInputs inputs = of.random_rows(random, random.integer(1, most));
      const plan::StepBinding binding = of.binding(inputs);
      if (most == 1) {
        continue;  // its inputs do not fit
      }
      SCOPED_TRACE(testing::Message() << inputs.ids.size() << " tokens of " << binding.rows
                                      << " rows behind " << length);
      const std::vector<Doubles> expected = of.expected_of_rows(inputs);
      const DeviceArray<TopLogit> best(
          std::vector<TopLogit>(static_cast<std::size_t>(binding.num_logits)));
      ASSERT_EQ(test::step_to_end(*model, binding, of.logits_on_device(), best.data()),
                cudaSuccess);
      const std::vector<T> all = of.logits_of_rows();
      const std::vector<TopLogit> tops = best.to_host();
      const auto vocab_size = static_cast<std::size_t>(of.form().vocab_size);
      double most_error = TypeParam::kError;
      for (std::size_t row = 0; row < tops.size(); ++row) {
        const auto token = inputs.logits_positions.empty()
                               ? row
                               : static_cast<std::size_t>(inputs.logits_positions[row]);
        SCOPED_TRACE(testing::Message() << "row " << row << ", token " << token);
        const auto logits = std::span<const T>(all).subspan(row * vocab_size, vocab_size);
        const double error = largest_error<TypeParam>(logits, expected[token], [&](double places) {
          return of.expected_of_rows(inputs, places)[token];
        });
        test::expect_logits(logits, expected[token], tops[row], 0, error);
        most_error = std::max(most_error, error);
      }
      EXPECT_LE(of.largest_cache_error(), 8 * most_error);
    }
  });
}

// Of sizes at which each warp's ring of weights is filled over and over, behind a long past, so
// that at times weights are late and at times the warps are.
TYPED_TEST(FusedDecoderOnCuda, GivesTheSameBitsEveryTime) {
  using T = typename TypeParam::Vector;
  std::vector<QuantizedKind> kinds(1);
  if (kRounds<TypeParam>) {
    kinds = {{.bits = 4}, {.bits = 4, .minimums = true}, {.bits = 8, .block_pieces = 2}};
  }
  for (const QuantizedKind& kind : kinds) {
    SCOPED_TRACE(testing::Message() << kind.bits << " bits, minimums: " << kind.minimums);
    Random random(21);
    DecoderForm form;
    form.layers = 1;
    form.heads = 32;
    form.kv_heads = 8;
    form.hidden = 2048;
    form.inner = 4096;
    form.vocab_size = 3000;
    form.layer_kind = form.head_kind = kind;
    DecoderCase<TypeParam> of(random, form);
    of.grow(random, 2000);
    std::string why_not;
    const auto model = fused_decoder_of(of, why_not);
    ASSERT_NE(model, nullptr) << why_not;
    const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
    const StepInputs inputs = of.one_token(7, 300);
    std::vector<T> first;
    for (int i = 0; i < 10000; ++i) {
      ASSERT_EQ(test::step_to_end(*model, of.binding(inputs), of.logits_on_device(), best.data()),
                cudaSuccess);
      const std::vector<T> logits = of.logits();
      first = first.empty() ? logits : first;
      ASSERT_EQ(std::memcmp(first.data(), logits.data(), logits.size() * sizeof(T)), 0)
          << "step " << i;
    }
  }
}

TYPED_TEST(FusedDecoderOnCuda, WhatIsOutsideTheTablesGivesNaN) {
  using T = typename TypeParam::Vector;
  Random random(22);
  DecoderForm form;
  form.heads = 2;
  // Positions are angles in one model, rows of a table in another.
  for (const bool of_table : {false, true}) {
    if (of_table && kRounds<TypeParam>) {
      continue;
    }
    form.layer_norms = form.positions = of_table;
    form.rotary_dims = of_table ? 0 : form.head_dim;
    DecoderCase<TypeParam> of(random, form);
    std::string why_not;
    const auto model = fused_decoder_of(of, why_not);
    ASSERT_NE(model, nullptr) << why_not;
    const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
    for (const StepInputs& inputs :
         {of.one_token(form.vocab_size, 0), of.one_token(-1, 0),
          of.one_token(0, DecoderCase<TypeParam>::kContext), of.one_token(0, -1)}) {
      ASSERT_EQ(test::step_to_end(*model, of.binding(inputs), of.logits_on_device(), best.data()),
                cudaSuccess);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      for (const T logit : of.logits()) {
        EXPECT_TRUE(std::isnan(wide(logit)));
      }
      EXPECT_TRUE(std::isnan(best.to_host()[0].logit));
    }
  }
}

TYPED_TEST(FusedDecoderOnCuda, SaysWhyAModelOrARunIsNoSuchStep) {
  using T = typename TypeParam::Vector;
  Random random(23);
  const DecoderForm form;
  const DecoderCase<TypeParam> of(random, form);
  const auto why_not = [&](const plan::CudaWeights& weights, const plan::StepBinding& binding) {
    return why_not_fused(of.plan(), weights, binding);
  };
  const plan::StepBinding one = of.binding(of.one_token(0, 0));
  plan::StepBinding many = one;
  many.tokens = kMaxDecoderTokens + 1;
  EXPECT_EQ(why_not(of.weights(), many), "it has more tokens than the kernel takes");
  many.tokens = 2;
  many.num_logits = kMaxLogitsRows + 1;
  EXPECT_EQ(why_not(of.weights(), many), "it has more tokens than the kernel takes");
  plan::StepBinding odd = one;
  odd.block_len = 24;
  EXPECT_EQ(why_not(of.weights(), odd), "block_len is no power of two, or under 8");
  plan::StepBinding long_table = one;
  long_table.blocks_per_row = kMaxDecoderTable + 1;
  EXPECT_EQ(why_not(of.weights(), long_table), "its block tables are too long for a launch");
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
  plan::CudaNode& head = centred.nodes.at(plan::kHeadNode);
  if constexpr (kRounds<TypeParam>) {
    std::get<QuantizedLinearCudaArgs>(head).norm.is_rms = false;
  } else {
    std::get<HeadCudaArgs<T>>(head).norm.is_rms = false;
  }
  EXPECT_EQ(why_not(centred, one), kRounds<TypeParam>
                                       ? "its norms are no RMSNorm"
                                       : "its norms are of several kinds, or RMSNorm with a bias");

  DecoderForm wide_heads;
  wide_heads.head_dim = 96;
  wide_heads.rotary_dims = 96;
  const DecoderCase<TypeParam> of_wide_heads(random, wide_heads);
  std::string reason;
  EXPECT_EQ(fused_decoder_of(of_wide_heads, reason), nullptr);
  EXPECT_EQ(reason, "its heads have neither 64 nor 128 elements");

  if constexpr (!kRounds<TypeParam>) {
    DecoderForm small;
    small.gated = false;
    small.layer_norms = small.positions = true;
    small.hidden = 96;
    const DecoderCase<TypeParam> of_small(random, small);
    EXPECT_EQ(why_not_fused(of_small.plan(), of_small.weights(),
                            of_small.binding(of_small.one_token(0, 0))),
              "its layers are so small that a captured graph is faster");
  }
}

class QuantizedDecoderOnCuda : public test::OnGpu {};

TEST_F(QuantizedDecoderOnCuda, SaysWhyAModelIsNoSuchStep) {
  Random random(24);
  const DecoderForm form;
  const DecoderCase<test::QuantizedWeights<float>> of(random, form);
  const plan::StepBinding one = of.binding(of.one_token(0, 0));
  const auto why_not = [&](const plan::CudaWeights& weights, const plan::StepBinding& binding) {
    return why_not_fused(of.plan(), weights, binding);
  };
  const auto changed = [&](const char* role, const auto& change) {
    plan::CudaWeights weights = of.weights();
    change(std::get<QuantizedLinearCudaArgs>(weights.nodes.at(plan::layer_node(0, role))));
    return why_not(weights, one);
  };
  plan::StepBinding narrow = one;
  narrow.cache_type = DataType::int8;
  EXPECT_EQ(why_not(of.weights(), narrow), "its cache is of int8");
  EXPECT_EQ(changed("mlp.down", [](auto& args) { args.accuracy = AccuracyLevel::float32; }),
            "its products do not round what they multiply with to int8");
  EXPECT_EQ(changed("attention.qkv", [](auto& args) { args.weight.block_size = 16; }),
            "its weights have a scale for 16 inputs");
  EXPECT_EQ(changed("mlp.down", [](auto& args) { args.weight.bits = 8; }),
            "its layers have weights of several types or sizes of blocks");
  EXPECT_EQ(changed("mlp.down", [](auto& args) { args.activation = Activation::silu; }),
            "its products have other norms or activations than Llama's");
}

}  // namespace
}  // namespace kvcache::kernels
