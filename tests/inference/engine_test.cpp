// The cache's size as the options ask for it.
#include <gtest/gtest.h>

#include <limits>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_error;

constexpr std::size_t kTebibyte = std::size_t{1} << 40;

void expect_refused(std::size_t cache_bytes, std::size_t block_len, const std::string& message) {
  ModelOptions options;
  options.cache_bytes = cache_bytes;
  options.block_len = block_len;
  expect_error(ErrorCode::invalid_argument, message,
               [&] { (void)Model::load(test::model_path(test::golden_names().front()), options); });
}

TEST(CacheSize, BeyondTheAddressesOfAProcessIsRefused) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  for (const std::size_t bytes :
       {kMost, kMost - 1, kMost / 2, kMost / 2 + 1, 128 * kTebibyte + 1}) {
    for (const std::size_t block_len : {std::size_t{0}, std::size_t{1}, kMost}) {
      expect_refused(bytes, block_len,
                     "cache_bytes is " + std::to_string(bytes) +
                         ", must be at most 140737488355328 (2^47), the addresses of a process");
    }
  }
}

TEST(CacheSize, OfMoreBlocksThanCanBeKeptAccountOfIsRefused) {
  expect_refused(32 * kTebibyte, 1, "must have at most 16777216; give a larger block_len or fewer");
}

TEST(CacheSize, OfAnyBlockLengthHoldsASequence) {
  for (const std::size_t block_len : {std::size_t{1}, std::numeric_limits<std::size_t>::max()}) {
    ModelOptions options;
    options.block_len = block_len;
    const Model model = Model::load(test::model_path(test::golden_names().front()), options);
    Sequence sequence = model.new_sequence();
    EXPECT_NO_THROW((void)sequence.extend(std::vector<TokenId>(model.info().max_seq_len, 1)));
  }
}

TEST(CacheSize, IsNotReservedBeyondTheBudget) {
  const Model model = Model::load(test::model_path(test::golden_names().front()));
  expect_error(ErrorCode::cache_full, "the cache's budget of",
               [&] { model.reserve_cache(std::numeric_limits<std::size_t>::max()); });
}

}  // namespace
}  // namespace kvcache
