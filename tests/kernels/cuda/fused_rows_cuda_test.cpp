// Runs of many rows as one kernel against double precision.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <deque>
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

/// Rows of up to 20 new tokens behind pasts of up to 200.
template <typename T>
StepInputs rows_over_pasts(FusedCase<T>& of, Random& random) {
  for (std::int64_t row = 0; row < of.rows(); ++row) {
    of.grow(random, row, random.integer(0, 200));
  }
  return of.random_rows(random, 20, 100);
}

TYPED_TEST(FusedRowsOnCuda, GivesTheSameBitsEveryTime) {
  using T = TypeParam;
  Random random(21);
  FusedCase<T> of(random, 2, 4, 512,
                  {.head_dim = 32, .most_vocabulary = 128, .most_rows = 40, .most_logits = 4096});
  const StepInputs inputs = rows_over_pasts(of, random);
  std::string why_not;
  const auto model = fused_for(of, inputs, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  test::expect_same_bits(*model, of, inputs, 1000);
}

TYPED_TEST(FusedRowsOnCuda, RunsSideBySideGiveWhatOneGives) {
  using T = TypeParam;
  constexpr int kRuns = 300;
  Random random(24);
  FusedCase<T> of(random, 3, 4, 512,
                  {.head_dim = 32, .most_vocabulary = 128, .most_rows = 40, .most_logits = 4096});
  const StepInputs inputs = rows_over_pasts(of, random);
  std::string why_not;
  const auto model = fused_for(of, inputs, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  plan::StepBinding binding = of.binding(inputs);
  ASSERT_TRUE(model->is_independent(binding));
  const auto count = static_cast<std::size_t>(binding.num_logits * of.vocab_size());
  struct Run {
    Run(std::size_t elements, std::size_t rows)
        : logits(std::vector<T>(elements)), host_logits(elements), best(rows) {
      test::check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() { cudaStreamDestroy(stream); }
    cudaStream_t stream = nullptr;
    DeviceArray<T> logits;
    test::HostArray<T> host_logits;
    test::HostArray<TopLogit> best;
    plan::PreparedStep prepared;
  };
  std::deque<Run> runs;
  for (int lane = 0; lane < plan::kLanes; ++lane) {
    runs.emplace_back(count, static_cast<std::size_t>(binding.num_logits));
  }
  test::check_cuda(cudaDeviceSynchronize());  // the weights are packed
  for (int i = 0; i < kRuns; ++i) {
    Run& run = runs[static_cast<std::size_t>(i % plan::kLanes)];
    test::check_cuda(cudaStreamSynchronize(run.stream));
    binding.host_logits = reinterpret_cast<std::byte*>(run.host_logits.data());
    ASSERT_TRUE(model->prepare(binding, run.prepared));
    ASSERT_EQ(model->step(binding, run.logits.data(), run.best.data(),
                          {run.stream, i % plan::kLanes}, run.prepared),
              cudaSuccess);
  }
  test::check_cuda(cudaDeviceSynchronize());
  const std::vector<T> first = runs.front().logits.to_host();
  for (const Run& run : runs) {
    EXPECT_EQ(std::memcmp(first.data(), run.logits.to_host().data(), count * sizeof(T)), 0);
    EXPECT_EQ(std::memcmp(first.data(), run.host_logits.data(), count * sizeof(T)), 0);
  }
}

TYPED_TEST(FusedRowsOnCuda, TheHostSeesARowsLogitsWithItsBestToken) {
  using T = TypeParam;
  Random random(25);
  FusedCase<T> of(random, 2, 2, 256,
                  {.head_dim = 32, .most_vocabulary = 301, .most_rows = 40, .most_logits = 4096});
  const StepInputs inputs = of.random_rows(random, 20, 100);
  std::string why_not;
  const auto model = fused_for(of, inputs, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  plan::StepBinding binding = of.binding(inputs);
  const auto rows = static_cast<std::size_t>(binding.num_logits);
  const auto vocab_size = static_cast<std::size_t>(of.vocab_size());
  const DeviceArray<T> logits{std::vector<T>(rows * vocab_size)};
  test::HostArray<T> host_logits(rows * vocab_size);
  test::HostArray<TopLogit> best(rows);
  binding.host_logits = reinterpret_cast<std::byte*>(host_logits.data());
  plan::PreparedStep prepared;
  for (int i = 0; i < 200; ++i) {
    std::fill_n(host_logits.data(), rows * vocab_size, T(INFINITY));
    std::fill_n(best.data(), rows, TopLogit{-1, 0});
    ASSERT_TRUE(model->prepare(binding, prepared));
    ASSERT_EQ(model->step(binding, logits.data(), best.data(), {}, prepared), cudaSuccess);
    for (std::size_t row = 0; row < rows; ++row) {
      while (std::atomic_ref(best.data()[row].token).load(std::memory_order_acquire) == -1) {
      }
      for (std::size_t token = 0; token < vocab_size; ++token) {
        ASSERT_FALSE(std::isinf(wide(host_logits.data()[row * vocab_size + token])))
            << "run " << i << ", row " << row << ", token " << token;
      }
    }
  }
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
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
  ASSERT_EQ(test::step_to_end(*model, of.binding(inputs), logits.data(), best.data()), cudaSuccess);
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
  plan::PreparedStep prepared;
  EXPECT_FALSE(model->prepare(of.binding(too_long), prepared));
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
