// Argmax and top-k on CUDA against sorting.
#include "kernels/cuda/top_logits_cuda.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

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

TYPED_TEST(TopLogitsOnCuda, AreThoseOfASort) {
  using T = TypeParam;
  test::for_random_cases(60, [](Random& random) {
    const std::int64_t vocab_size = random.integer(1, random.chance(0.1) ? 60000 : 3000);
    const std::int64_t rows = random.integer(1, random.chance(0.3) ? 40 : 3);
    std::vector<T> logits(static_cast<std::size_t>(rows * vocab_size));
    for (T& logit : logits) {
      logit = T(static_cast<float>(random.integer(-40, 40)));  // many are equal
    }
    const DeviceArray<T> on_device(logits);
    const std::int64_t k = std::min<std::int64_t>(vocab_size, 7);
    const DeviceArray<TopLogit> best(std::vector<TopLogit>(static_cast<std::size_t>(rows)));
    const DeviceArray<TopLogit> top(std::vector<TopLogit>(static_cast<std::size_t>(k)));
    const T* last_row = on_device.data() + (rows - 1) * vocab_size;
    ASSERT_EQ(argmax_cuda(on_device.data(), rows, vocab_size, best.data(), nullptr), cudaSuccess);
    ASSERT_EQ(top_k_cuda(last_row, vocab_size, k, top.data(), nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    std::vector<std::int32_t> order(static_cast<std::size_t>(vocab_size));
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto logit = [&](std::int32_t token) {
        return static_cast<float>(logits[static_cast<std::size_t>(row * vocab_size + token)]);
      };
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](std::int32_t a, std::int32_t b) { return logit(a) > logit(b); });
      const TopLogit found = best.to_host()[static_cast<std::size_t>(row)];
      EXPECT_EQ(found.token, order.front());
      EXPECT_EQ(found.logit, logit(order.front()));
    }
    const std::vector<TopLogit> found = top.to_host();
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].token, order[i]) << i;
    }
  });
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
    const DeviceArray<TopLogit> top(std::vector<TopLogit>(2));
    ASSERT_EQ(argmax_cuda(on_device.data(), 1, vocab_size, best.data(), nullptr), cudaSuccess);
    ASSERT_EQ(top_k_cuda(on_device.data(), vocab_size, 2, top.data(), nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(best.to_host()[0].token, std::min(first, second));
    EXPECT_TRUE(std::isnan(best.to_host()[0].logit));
    EXPECT_EQ(top.to_host()[0].token, std::min(first, second));
    EXPECT_TRUE(first == second || top.to_host()[1].token == std::max(first, second));
  });
}

}  // namespace
}  // namespace kvcache::kernels
