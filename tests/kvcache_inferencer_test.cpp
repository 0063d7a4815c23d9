// The specified facade.
#include "kvcache_inferencer.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>  // setenv

#include "support/models.hpp"

namespace {

using kvcache::TokenId;

class Facade : public testing::Test {
 protected:
  KVCacheInferencer inferencer_{kvcache::test::model_path(kvcache::test::golden_names().front())};
};

TEST_F(Facade, AllocatesTheSpecifiedCacheAtOnce) {
  const kvcache::ModelInfo& info = inferencer_.model().info();
  EXPECT_EQ(inferencer_.cache_bytes_theoretical(), 2 * info.num_layers * info.num_kv_heads *
                                                       info.max_seq_len * info.head_dim *
                                                       kvcache::data_type_size(info.cache_dtype));
  EXPECT_EQ(inferencer_.cache_bytes_allocated(), inferencer_.cache_bytes_theoretical());
}

TEST_F(Facade, HasACacheOfOneSequenceWhateverItsOptionsSay) {
  kvcache::ModelOptions options;
  options.block_len = 1;
  options.cache_bytes = std::size_t{1} << 40;
  const KVCacheInferencer inferencer(
      kvcache::test::model_path(kvcache::test::golden_names().front()), options);
  const kvcache::CacheStats stats = inferencer.model().cache_stats();
  EXPECT_EQ(stats.blocks_limit, 1U);
  EXPECT_EQ(stats.block_bytes, inferencer.cache_bytes_theoretical());
}

TEST_F(Facade, GeneratesTheSameTokensWithAndWithoutCache) {
  std::vector<TokenId> tokens{1};
  std::vector<TokenId> input = tokens;
  for (int i = 0; i < 20; ++i) {
    const TokenId cached = inferencer_.forward(input).argmax();
    EXPECT_EQ(cached, inferencer_.forward_without_cache(tokens).argmax());
    tokens.push_back(cached);
    input = {cached};
  }
  EXPECT_EQ(inferencer_.length(), 20U);
}

TEST_F(Facade, MetricsCountCallsAndProveNoCopies) {
  const std::vector<TokenId> prompt{1, 2, 3};
  (void)inferencer_.forward(prompt);
  (void)inferencer_.forward({prompt.data(), 1});
  const KVCacheInferencer::Metrics& metrics = inferencer_.metrics();
  EXPECT_EQ(metrics.forward_calls, 2U);
  EXPECT_EQ(metrics.tokens, 4U);
  EXPECT_EQ(metrics.cache_allocations, 0U);
  EXPECT_EQ(metrics.cache_bytes_copied, 0U);
  EXPECT_GT(metrics.first_latency.count(), 0.0);
  EXPECT_NEAR(metrics.total_latency.count(),
              metrics.first_latency.count() + metrics.last_latency.count(), 1e-9);
  inferencer_.reset_metrics();
  EXPECT_EQ(inferencer_.metrics().forward_calls, 0U);
}

TEST_F(Facade, ResetForgetsTheSequenceAndKeepsTheMemory) {
  const std::vector<TokenId> prompt{1, 2, 3};
  const TokenId first = inferencer_.forward(prompt).argmax();
  inferencer_.reset();
  EXPECT_EQ(inferencer_.length(), 0U);
  EXPECT_EQ(inferencer_.forward(prompt).argmax(), first);
  EXPECT_EQ(inferencer_.cache_bytes_allocated(), inferencer_.cache_bytes_theoretical());
}

TEST(FacadeEnvironment, ForceCpuWins) {
  if (kvcache::test::models_dtype() == "bfloat16") {
    GTEST_SKIP() << "ONNX Runtime runs no bfloat16 model on the CPU";
  }
  const kvcache::test::ForcedCpu forced;
  kvcache::ModelOptions options;
  options.require_device = kvcache::Device::cuda;
  const KVCacheInferencer inferencer(
      kvcache::test::model_path(kvcache::test::golden_names().front()), options);
  EXPECT_TRUE(inferencer.model().device_report().starts_with("cpu: "));
}

}  // namespace
