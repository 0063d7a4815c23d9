// Runs of many rows as one kernel against double precision.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/fused_rows_plan.hpp"
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

template <typename T>
class FusedRowsOnCuda : public test::OnGpu {};
using Types = testing::Types<__half, __nv_bfloat16>;
TYPED_TEST_SUITE(FusedRowsOnCuda, Types);

constexpr std::int64_t kMostLogits = 4096;

/// A model that no other kernel takes runs of so many tokens of, with sequences of any length.
template <typename T>
FusedCase<T> random_case(Random& random, std::int64_t rows) {
  const std::int64_t head_dim = random.pick(std::vector<std::int64_t>{8, 16, 32, 64, 64});
  const std::int64_t heads = head_dim == 8 ? 4 * random.integer(1, 3) : 2 * random.integer(1, 4);
  return FusedCase<T>(random, random.integer(1, 3), heads, 128 * random.integer(1, 8),
                      {.head_dim = head_dim,
                       .most_vocabulary = kMostRowsVocabulary,
                       .most_rows = rows,
                       .most_logits = kMostLogits,
                       .rounds_inputs = true});
}

template <typename T>
std::shared_ptr<plan::FusedModel> fused_for(const FusedCase<T>& of, const StepInputs& inputs,
                                            std::string& why_not) {
  return fuse(of.plan(), of.weights(), of.binding(inputs), test::multiprocessors_of_gpu(), nullptr,
              nullptr, why_not);
}

template <typename T>
std::int64_t most_of_row(const FusedCase<T>& of) {
  return std::int64_t{most_rows_tiles(of.rows_sizes())} * kRowsTileTokens;
}

TYPED_TEST(FusedRowsOnCuda, GivesTheLogitsOfRandomModels) {
  using T = TypeParam;
  test::for_random_cases(10, [](Random& random) {
    FusedCase<T> of = random_case<T>(random, 20);
    for (std::int64_t row = 0; row < of.rows(); ++row) {
      of.grow(random, row, random.pick(std::vector<std::int64_t>{0, 1, 7, 16, 130, 400, 600}));
    }
    const std::int64_t most = most_of_row(of);
    ASSERT_GT(most, 0);
    for (int run = 0; run < 3; ++run) {
      const StepInputs inputs =
          of.random_rows(random, random.integer(most / 2, most), 1024 + random.integer(0, 40));
      std::string why_not;
      const auto model = fused_for(of, inputs, why_not);
      ASSERT_NE(model, nullptr) << why_not;
      test::expect_step(*model, of, inputs);
    }
  });
}

/// More rows than multiprocessors: several of them in a block, of one block behind the other.
TYPED_TEST(FusedRowsOnCuda, RowsShareBlocks) {
  using T = TypeParam;
  test::for_random_cases(2, [](Random& random) {
    FusedCase<T> of(random, 2, 2, 128,
                    {.head_dim = random.pick(std::vector<std::int64_t>{16, 32}),
                     .most_vocabulary = 60,
                     .most_rows = 150 + random.integer(0, 200),
                     .most_logits = kMostLogits,
                     .rounds_inputs = true});
    for (std::int64_t row = 0; row < of.rows(); row += random.integer(1, 40)) {
      of.grow(random, row, random.integer(1, 90));
    }
    const StepInputs inputs = of.random_rows(random, random.integer(1, 12), 0);
    std::string why_not;
    const auto model = fused_for(of, inputs, why_not);
    ASSERT_NE(model, nullptr) << why_not;
    test::expect_step(*model, of, inputs);
  });
}

TYPED_TEST(FusedRowsOnCuda, GivesTheSameBitsEveryTime) {
  using T = TypeParam;
  Random random(21);
  FusedCase<T> of(random, 2, 4, 512,
                  {.head_dim = 32, .most_vocabulary = 128, .most_rows = 40, .most_logits = 4096});
  for (std::int64_t row = 0; row < of.rows(); ++row) {
    of.grow(random, row, random.integer(0, 200));
  }
  const StepInputs inputs = of.random_rows(random, 20, 100);
  std::string why_not;
  const auto model = fused_for(of, inputs, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  test::expect_same_bits(*model, of, inputs, 1000);
}

TYPED_TEST(FusedRowsOnCuda, AnIdOutsideTheTablesGivesNaNToThoseWhoSeeIt) {
  using T = TypeParam;
  Random random(22);
  FusedCase<T> of(random, 1, 2, 128, {.head_dim = 32, .most_vocabulary = 50, .most_rows = 70});
  StepInputs inputs;
  for (std::int64_t row = 0; row < of.rows(); ++row) {
    inputs.ids.push_back(row == 3 ? of.vocab_size() : 0);
    inputs.positions.push_back(0);
    inputs.past_lengths.push_back(0);
  }
  inputs.block_table = of.block_table();
  std::string why_not;
  const auto model = fused_for(of, inputs, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  const DeviceArray<TopLogit> best{std::vector<TopLogit>(inputs.ids.size())};
  const DeviceArray<T> logits{
      std::vector<T>(inputs.ids.size() * static_cast<std::size_t>(of.vocab_size()))};
  ASSERT_EQ(model->step(of.binding(inputs), logits.data(), best.data(), nullptr), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<TopLogit> tops = best.to_host();
  for (std::size_t row = 0; row < tops.size(); ++row) {
    EXPECT_EQ(std::isnan(tops[row].logit), row == 3) << row;
  }
}

TYPED_TEST(FusedRowsOnCuda, ARowTooLongForABlockIsNotTaken) {
  using T = TypeParam;
  Random random(23);
  FusedCase<T> of(random, 1, 2, 128, {.head_dim = 32, .most_vocabulary = 50, .most_rows = 20});
  const StepInputs fits = of.random_rows(random, 20, 70);
  std::string why_not;
  const auto model = fused_for(of, fits, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  StepInputs too_long = of.random_rows(random, kMostUnitTokens + 1, 70);
  EXPECT_EQ(model->step(of.binding(too_long), nullptr, nullptr, nullptr), cudaErrorNotSupported);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  StepInputs one_row = fits;
  one_row.row_offsets.clear();  // all tokens are the one row's
  one_row.past_lengths.resize(1);
  one_row.append_positions.clear();
  EXPECT_EQ(fused_for(of, one_row, why_not), nullptr);
  EXPECT_EQ(why_not,
            "it has too many tokens, or a row of it has more than a block of the GPU takes");
}

}  // namespace
}  // namespace kvcache::kernels
