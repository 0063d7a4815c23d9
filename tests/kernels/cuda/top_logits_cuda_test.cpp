// Argmax, top-k and a softmax's sum on CUDA against sorting and double precision.
#include "kernels/cuda/top_logits_cuda.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/argmax_cpu.hpp"
#include "kernels/cuda/exp_sums_cuda.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::DeviceArray;
using test::Random;

template <typename T>
class TopLogitsOnCuda : public test::OnGpu {};
using Types = testing::Types<float, __half, __nv_bfloat16>;
TYPED_TEST_SUITE(TopLogitsOnCuda, Types);

/// Bit i % 32 of word i / 32 is token i.
std::vector<unsigned> random_mask(Random& random, std::int64_t vocab_size) {
  std::vector<unsigned> words(static_cast<std::size_t>((vocab_size + 31) / 32));
  const double share = random.chance(0.5) ? 0.9 : 0.05;
  for (unsigned& word : words) {
    for (int bit = 0; bit < 32; ++bit) {
      word |= static_cast<unsigned>(random.chance(share)) << bit;  // behind the last token, too
    }
  }
  words.front() |= 1;  // one at least
  return words;
}

bool allows(const std::vector<unsigned>& mask, std::int64_t token) {
  return mask.empty() || (mask[static_cast<std::size_t>(token / 32)] >> (token % 32) & 1U) != 0;
}

/// The tokens of a row that a mask has, where it is not empty; the best first.
template <typename T>
std::vector<std::int32_t> sorted_tokens(const T* row, std::int64_t vocab_size,
                                        const std::vector<unsigned>& mask = {}) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(vocab_size));
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](std::int32_t token) { return !allows(mask, token); });
  const auto logit = [&](std::int32_t token) { return static_cast<float>(row[token]); };
  std::sort(order.begin(), order.end(),
            [&](std::int32_t a, std::int32_t b) { return comes_before(logit(a), a, logit(b), b); });
  return order;
}

/// What top_k_cuda chose, put in order.
template <typename T>
std::vector<TopLogit> top_k(const T* on_device, std::int64_t vocab_size, std::int64_t k,
                            const unsigned* allowed = nullptr) {
  const DeviceArray<TopLogit> chosen(
      std::vector<TopLogit>(static_cast<std::size_t>(k), TopLogit{-1, 0}));
  EXPECT_EQ(top_k_cuda(on_device, vocab_size, allowed, k, chosen.data(), nullptr), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  std::vector<TopLogit> found = chosen.to_host();
  std::ranges::sort(found, [](const TopLogit& a, const TopLogit& b) {
    return comes_before(a.logit, a.token, b.logit, b.token);
  });
  return found;
}

TYPED_TEST(TopLogitsOnCuda, AreThoseOfASort) {
  using T = TypeParam;
  test::for_random_cases(100, [](Random& random) {
    const std::int64_t vocab_size = random.integer(1, random.chance(0.1) ? 60000 : 3000);
    const std::int64_t rows = random.integer(1, random.chance(0.3) ? 40 : 3);
    // Many are equal, or all, or hardly any; numbers of both signs, zeros of both, infinities.
    const std::int64_t different = random.chance(0.2) ? 0 : random.chance(0.5) ? 40 : 100000;
    std::vector<T> logits(static_cast<std::size_t>(rows * vocab_size));
    for (T& logit : logits) {
      logit = T(static_cast<float>(random.integer(-different, different)) * 0.01F);
      if (random.chance(0.05)) {
        logit = T(random.chance(0.5) ? -0.0F
                                     : std::numeric_limits<float>::infinity() *
                                           (random.chance(0.5) ? 1.0F : -1.0F));
      }
    }
    const DeviceArray<T> on_device(logits);
    const DeviceArray<TopLogit> best(std::vector<TopLogit>(static_cast<std::size_t>(rows)));
    ASSERT_EQ(argmax_cuda(on_device.data(), rows, vocab_size, best.data(), nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* const of_row = logits.data() + row * vocab_size;
      const std::int32_t first = sorted_tokens(of_row, vocab_size).front();
      const TopLogit found = best.to_host()[static_cast<std::size_t>(row)];
      EXPECT_EQ(found.token, first);
      EXPECT_EQ(found.logit, static_cast<float>(of_row[first]));
    }
    const std::int64_t last_row = (rows - 1) * vocab_size;
    const std::vector<unsigned> mask =
        random.chance(0.5) ? random_mask(random, vocab_size) : std::vector<unsigned>{};
    const DeviceArray<unsigned> d_mask(mask);
    const std::vector<std::int32_t> order =
        sorted_tokens(logits.data() + last_row, vocab_size, mask);
    const auto count = static_cast<std::int64_t>(order.size());
    for (const std::int64_t k :
         {std::int64_t{1}, random.integer(1, std::min<std::int64_t>(count, 60)),
          random.integer(1, count), count}) {
      const std::vector<TopLogit> found =
          top_k(on_device.data() + last_row, vocab_size, k, mask.empty() ? nullptr : d_mask.data());
      for (std::size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(found[i].token, order[i]) << i << " of " << k;
        ASSERT_EQ(found[i].logit,
                  static_cast<float>(logits[static_cast<std::size_t>(last_row + order[i])]));
      }
    }
  });
}

/// The sums over some rows, of whatever length and wherever they begin, always to the same bits,
/// and the logits that were asked for of them.
TYPED_TEST(TopLogitsOnCuda, SumsOfSoftmaxes) {
  using T = TypeParam;
  test::for_random_cases(60, [](Random& random) {
    const std::int64_t vocab_size = random.integer(1, random.chance(0.2) ? 60000 : 3000);
    const std::int64_t rows = random.integer(1, random.chance(0.2) ? 40 : 5);
    std::vector<T> logits(static_cast<std::size_t>(rows * vocab_size));
    for (T& logit : logits) {
      logit = random.chance(0.05) ? T(-std::numeric_limits<float>::infinity())
                                  : T(10 * random.normal());
    }
    const double temperature = 0.1 * static_cast<double>(random.integer(1, 30));
    const auto value = [&](std::int64_t row, std::int64_t token) -> T& {
      return logits[static_cast<std::size_t>(row * vocab_size + token)];
    };
    std::vector<AskedRow> asked;
    std::vector<TopLogit> tokens;
    for (std::int64_t left = random.integer(1, 2 * rows); left > 0; --left) {
      const std::int64_t row = random.integer(0, rows - 1);
      value(row, random.integer(0, vocab_size - 1)) = T(50.0F);
      const auto count = static_cast<std::int32_t>(random.integer(0, random.chance(0.1) ? 700 : 5));
      asked.push_back({-1, row, 50.0F, static_cast<std::int32_t>(tokens.size()), count});
      for (std::int32_t i = 0; i < count; ++i) {
        tokens.push_back({static_cast<std::int32_t>(random.integer(0, vocab_size - 1)), -1});
      }
    }
    const DeviceArray<T> on_device(logits);
    const std::vector<unsigned> mask =
        random.chance(0.5) ? random_mask(random, vocab_size) : std::vector<unsigned>{};
    const DeviceArray<unsigned> d_mask(mask);
    std::vector<std::vector<AskedRow>> found;
    std::vector<TopLogit> found_tokens;
    for (int run = 0; run < 2; ++run) {
      const DeviceArray<AskedRow> d_asked(asked);
      const DeviceArray<TopLogit> d_tokens(tokens);
      ASSERT_EQ(exp_sums_cuda(on_device.data(), vocab_size, mask.empty() ? nullptr : d_mask.data(),
                              temperature, static_cast<std::int64_t>(asked.size()), d_asked.data(),
                              d_tokens.data(), nullptr),
                cudaSuccess);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      found.push_back(d_asked.to_host());
      found_tokens = d_tokens.to_host();
    }
    for (std::size_t i = 0; i < asked.size(); ++i) {
      const std::int64_t row = asked[i].row;
      double expected = 0;
      for (std::int64_t token = 0; token < vocab_size; ++token) {
        const auto logit = static_cast<double>(static_cast<float>(value(row, token)));
        expected += allows(mask, token) ? std::exp((logit - 50) / temperature) : 0.0;
      }
      EXPECT_NEAR(found[0][i].sum, expected, 1e-12 * expected);
      EXPECT_EQ(found[0][i].sum, found[1][i].sum);
      for (std::int32_t at = asked[i].first; at < asked[i].first + asked[i].count; ++at) {
        const TopLogit& token = found_tokens[static_cast<std::size_t>(at)];
        EXPECT_EQ(token.token, tokens[static_cast<std::size_t>(at)].token);
        EXPECT_EQ(token.logit, static_cast<float>(value(row, token.token)));
      }
    }
  });
}

TYPED_TEST(TopLogitsOnCuda, NoneAreChosenOfNone) {
  const DeviceArray<TypeParam> row(std::vector<TypeParam>(5, TypeParam(1.0F)));
  EXPECT_EQ(top_k_cuda<TypeParam>(row.data(), 5, nullptr, 0, nullptr, nullptr), cudaSuccess);
}

/// Wherever it is: whoever looks at the best token sees that the row holds one.
TYPED_TEST(TopLogitsOnCuda, BeginWithNaN) {
  using T = TypeParam;
  test::for_random_cases(20, [](Random& random) {
    const std::int64_t vocab_size = random.integer(2, random.chance(0.2) ? 60000 : 3000);
    std::vector<T> logits(static_cast<std::size_t>(vocab_size), T(1.0F));
    const std::int64_t first = random.integer(0, vocab_size - 1);
    const std::int64_t second = random.integer(0, vocab_size - 1);
    for (const std::int64_t token : {first, second}) {
      logits[static_cast<std::size_t>(token)] = T(std::numeric_limits<float>::quiet_NaN());
    }
    const DeviceArray<T> on_device(logits);
    const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
    ASSERT_EQ(argmax_cuda(on_device.data(), 1, vocab_size, best.data(), nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(best.to_host()[0].token, std::min(first, second));
    EXPECT_TRUE(std::isnan(best.to_host()[0].logit));
    const std::vector<TopLogit> top = top_k(on_device.data(), vocab_size, 2);
    EXPECT_EQ(top[0].token, std::min(first, second));
    EXPECT_TRUE(first == second || top[1].token == std::max(first, second));
  });
}

}  // namespace
}  // namespace kvcache::kernels
