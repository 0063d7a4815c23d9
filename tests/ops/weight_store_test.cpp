#include "ops/weight_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace kvcache::ops {
namespace {

TEST(WeightStore, KeepsACopyOfEachWeightOnce) {
  std::vector<float> first(3'000'000);  // several parts, no multiple of one
  std::iota(first.begin(), first.end(), 0.0F);
  const std::vector<float> second(5, 2.0F);
  WeightStore store;
  const auto keep = [&](const std::vector<float>& weights) {
    return static_cast<const float*>(store.keep(weights.data(), weights.size() * sizeof(float)));
  };
  const float* kept = keep(first);
  const float* other = keep(second);
  EXPECT_NE(kept, first.data());
  EXPECT_EQ(keep(first), kept);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), kept));
  EXPECT_TRUE(std::equal(second.begin(), second.end(), other));
}

TEST(WeightStore, LeavesMemoryThatIsNoMappedFileAlone) {
  std::vector<float> weights(1'000'000, 7.0F);
  WeightStore store;
  (void)store.keep(weights.data(), weights.size() * sizeof(float));
  EXPECT_EQ(std::accumulate(weights.begin(), weights.end(), 0.0), 7e6);
}

}  // namespace
}  // namespace kvcache::ops
