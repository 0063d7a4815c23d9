// What is asked about logits on the GPU, against the same computed on the host.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "device/answers_on_host.hpp"
#include "device/cuda/logit_questions.hpp"
#include "support/element_types.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::device {
namespace {

using test::DeviceArray;
using test::Random;

template <typename T>
constexpr DataType kType = DataType::float32;
template <>
constexpr DataType kType<__half> = DataType::float16;
template <>
constexpr DataType kType<__nv_bfloat16> = DataType::bfloat16;

/// Rows of logits on the GPU, and as float32 on the host.
template <typename T>
class SomeLogits {
 public:
  SomeLogits(Random& random, std::int64_t rows, std::int64_t vocab_size)
      : vocab_size_(static_cast<std::size_t>(vocab_size)),
        narrow_(test::random_values<T>(random, rows * vocab_size, 5)),
        on_device_(narrow_),
        questions_(kType<T>, vocab_size_, stream_) {
    for (const T& logit : narrow_) {
      logits_.push_back(static_cast<float>(test::wide(logit)));
    }
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
      const std::span<const float> of_row = this->row(row);
      const auto largest = std::ranges::max_element(of_row);
      best_.push_back({static_cast<std::int32_t>(largest - of_row.begin()), *largest});
    }
  }

  [[nodiscard]] std::span<const float> row(std::size_t row) const {
    return std::span(logits_).subspan(row * vocab_size_, vocab_size_);
  }

  /// Some tokens, and what was answered about them.
  void expect_log_probabilities(Random& random) {
    std::vector<RowToken> tokens;
    for (std::int64_t left = random.integer(0, 60); left > 0; --left) {
      tokens.push_back({static_cast<std::size_t>(random.integer(0, rows() - 1)),
                        random.integer(0, static_cast<std::int64_t>(vocab_size_) - 1)});
    }
    std::vector<float> found(tokens.size());
    questions_.log_probabilities(tokens, bytes(), best_, found);
    std::vector<float> expected(tokens.size());
    log_probabilities_on_host([this](std::size_t row) { return this->row(row); }, tokens, expected);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_NEAR(found[i], expected[i], 1e-5 * (1 + std::abs(expected[i])));
    }
  }

  void expect_sums_and_best(Random& random) {
    const auto row = static_cast<std::size_t>(random.integer(0, rows() - 1));
    const std::byte* const at = bytes() + row * vocab_size_ * sizeof(T);
    const double temperature = 0.1 * static_cast<double>(random.integer(1, 30));
    TokenMask mask(vocab_size_);
    mask.allow(best_[row].token);
    for (std::int64_t left = random.integer(1, 300); left > 0; --left) {
      mask.allow(random.integer(0, static_cast<std::int64_t>(vocab_size_) - 1));
    }
    const bool masked = random.chance(0.5);
    double sum = 0;
    float second = -std::numeric_limits<float>::infinity();
    for (std::size_t token = 0; token < vocab_size_; ++token) {
      const float logit = this->row(row)[token];
      if (!masked || mask.allows(static_cast<TokenId>(token))) {
        sum += std::exp(static_cast<double>(logit) / temperature);
        if (static_cast<std::int32_t>(token) != best_[row].token) {
          second = std::max(second, logit);
        }
      }
    }
    const TokenMask* const allowed = masked ? &mask : nullptr;
    EXPECT_NEAR(questions_.log_sum_exp(temperature, at, allowed, best_[row].logit), std::log(sum),
                1e-10);
    const std::size_t k = masked ? std::min<std::size_t>(2, mask.count()) : 2;
    const std::vector<TokenScore> top = questions_.top_k(k, at, allowed);
    EXPECT_EQ(top.front().token, best_[row].token);
    EXPECT_EQ(top.front().logit, best_[row].logit);
    EXPECT_EQ(top.back().logit, k == 2 ? second : best_[row].logit);
  }

 private:
  [[nodiscard]] const std::byte* bytes() const noexcept {
    return reinterpret_cast<const std::byte*>(on_device_.data());
  }
  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(best_.size()); }

  std::size_t vocab_size_;
  std::vector<T> narrow_;
  std::vector<float> logits_;
  std::vector<kernels::TopLogit> best_;
  DeviceArray<T> on_device_;
  CudaStream stream_;
  LogitQuestions questions_;
};

template <typename T>
class LogitQuestionsOnCuda : public test::OnGpu {};
using Types = testing::Types<float, __half, __nv_bfloat16>;
TYPED_TEST_SUITE(LogitQuestionsOnCuda, Types);

TYPED_TEST(LogitQuestionsOnCuda, AreAnsweredAsOnTheHost) {
  test::for_random_cases(20, [](Random& random) {
    SomeLogits<TypeParam> logits(random, random.integer(1, 40),
                                 random.integer(2, random.chance(0.2) ? 50257 : 3000));
    for (int i = 0; i < 5; ++i) {
      logits.expect_log_probabilities(random);
      logits.expect_sums_and_best(random);
    }
  });
}

TYPED_TEST(LogitQuestionsOnCuda, MayBeAskedByManyThreads) {
  Random random(1);
  SomeLogits<TypeParam> logits(random, 20, 5000);
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    threads.emplace_back([&logits, seed] {
      Random own(seed);
      for (int i = 0; i < 50; ++i) {
        logits.expect_log_probabilities(own);
        logits.expect_sums_and_best(own);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

/// Where the largest logit is infinite, the others have no probability.
TYPED_TEST(LogitQuestionsOnCuda, OfInfiniteLogitsAreInfinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> wide{1, kInfinity, 2};
  std::vector<TypeParam> narrow;
  for (const float logit : wide) {
    narrow.push_back(test::rounded<TypeParam>(logit));
  }
  const DeviceArray<TypeParam> on_device(narrow);
  CudaStream stream;
  LogitQuestions questions(kType<TypeParam>, 3, stream);
  const std::vector<kernels::TopLogit> best{{1, kInfinity}};
  const auto* const bytes = reinterpret_cast<const std::byte*>(on_device.data());
  EXPECT_EQ(questions.log_sum_exp(1, bytes, nullptr, kInfinity), kInfinity);
  float found = 0;
  const RowToken token{0, 2};
  questions.log_probabilities({&token, 1}, bytes, best, {&found, 1});
  EXPECT_EQ(found, -kInfinity);
}

}  // namespace
}  // namespace kvcache::device
