// What a cached sequence must satisfy, whatever the model, the prompt and the way it is split.
#include "kvcache/sequence.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::expect_error;
using test::Random;
using test::random_tokens;

/// All tests run on every golden model.
class CachedSequence : public testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] static Model load(const ModelOptions& options = {}) {
    return Model::load(test::model_path(GetParam()), options);
  }
};

std::string golden_label(const testing::TestParamInfo<std::string>& golden) {
  std::string label = golden.param;
  std::ranges::replace(label, '-', '_');
  return label;
}

INSTANTIATE_TEST_SUITE_P(Goldens, CachedSequence, testing::ValuesIn(test::golden_names()),
                         golden_label);

TEST_P(CachedSequence, GivesHuggingFacesLogits) {
  if (test::models_weights().ends_with("int4")) {
    GTEST_SKIP() << "rounding the weights of such small models to int4 changes logits altogether";
  }
  const Model model = load();
  const test::Golden golden = test::read_golden(GetParam());
  Sequence sequence = model.new_sequence();
  const Logits logits = sequence.extend(golden.ids, LogitsFor::all);
  ASSERT_EQ(logits.rows(), golden.ids.size());
  for (std::size_t i = 0; i < logits.rows(); ++i) {
    expect_close(logits.row(i),
                 std::span(golden.logits).subspan(i * logits.vocab_size(), logits.vocab_size()),
                 test::golden_tolerance());
  }
  for (std::size_t i = 0; i < golden.values.size(); ++i) {
    EXPECT_NEAR(logits.output("value", i).front(), golden.values[i], test::golden_tolerance());
  }
}

TEST_P(CachedSequence, AnySplitOfAPromptGivesTheSameLogits) {
  const Model model = load();
  test::for_random_cases(12, [&](Random& random) {
    const auto total = random.integer(1, static_cast<std::int64_t>(model.info().max_seq_len));
    const std::vector<TokenId> tokens = random_tokens(random, model.info(), total);
    const Logits expected = model.forward_without_cache(tokens, LogitsFor::all);
    Sequence sequence = model.new_sequence();
    std::size_t done = 0;
    while (done < tokens.size()) {
      const auto left = static_cast<std::int64_t>(tokens.size() - done);
      const auto count = static_cast<std::size_t>(
          random.chance(0.5) ? random.integer(1, std::min<std::int64_t>(3, left))
                             : random.integer(1, left));
      const Logits logits = sequence.extend(std::span(tokens).subspan(done, count), LogitsFor::all);
      ASSERT_EQ(logits.rows(), count);
      for (std::size_t i = 0; i < count; ++i) {
        expect_close(logits.row(i), expected.row(done + i));
      }
      done += count;
    }
    EXPECT_EQ(sequence.length(), tokens.size());
    EXPECT_TRUE(std::ranges::equal(sequence.tokens(), tokens));
  });
}

TEST_P(CachedSequence, LastLogitsAreTheLastOfAll) {
  const Model model = load();
  Random random(1);
  const std::vector<TokenId> tokens = random_tokens(random, model.info(), 20);
  Sequence sequence = model.new_sequence();
  const Logits last = sequence.extend(tokens);
  ASSERT_EQ(last.rows(), 1U);
  expect_close(last.last(), model.forward_without_cache(tokens, LogitsFor::all).last());
}

TEST_P(CachedSequence, BlockLengthDoesNotMatter) {
  Random random(2);
  const Model reference = load();
  const std::vector<TokenId> tokens = random_tokens(random, reference.info(), 40);
  const Logits expected = reference.forward_without_cache(tokens);
  for (const std::size_t block_len : {1U, 5U, 16U, 64U, 100'000U}) {
    ModelOptions options;
    options.block_len = block_len;
    const Model model = load(options);
    Sequence sequence = model.new_sequence();
    (void)sequence.extend(std::span(tokens).first(17));
    expect_close(sequence.extend(std::span(tokens).subspan(17)).last(), expected.last());
    const CacheStats stats = model.cache_stats();
    EXPECT_EQ(stats.block_len, std::min<std::size_t>(block_len, model.info().max_seq_len));
    EXPECT_EQ(stats.blocks_in_use, (tokens.size() + stats.block_len - 1) / stats.block_len);
  }
}

TEST_P(CachedSequence, ResetEqualsAFreshSequence) {
  const Model model = load();
  Random random(3);
  const std::vector<TokenId> first = random_tokens(random, model.info(), 30);
  const std::vector<TokenId> second = random_tokens(random, model.info(), 30);
  Sequence sequence = model.new_sequence();
  (void)sequence.extend(first);
  sequence.reset();
  EXPECT_EQ(sequence.length(), 0U);
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
  expect_close(sequence.extend(second).last(), model.forward_without_cache(second).last());
}

TEST_P(CachedSequence, InterleavedSequencesDoNotTouchEachOther) {
  const Model model = load();
  test::for_random_cases(4, [&](Random& random) {
    std::vector<std::vector<TokenId>> tokens;
    std::vector<Sequence> sequences;
    for (int i = 0; i < 4; ++i) {
      tokens.push_back(random_tokens(random, model.info(), random.integer(10, 40)));
      sequences.push_back(model.new_sequence());
    }
    for (std::size_t step = 0; step < 40; ++step) {
      for (std::size_t i = 0; i < sequences.size(); ++i) {
        if (step < tokens[i].size()) {
          const Logits logits = sequences[i].extend({&tokens[i][step], 1});
          expect_close(logits.last(),
                       model.forward_without_cache(std::span(tokens[i]).first(step + 1)).last());
        }
      }
    }
  });
}

TEST_P(CachedSequence, LogitsOutliveTheSequence) {
  const Model model = load();
  Random random(4);
  const std::vector<TokenId> tokens = random_tokens(random, model.info(), 10);
  std::optional<Sequence> sequence(model.new_sequence());
  const Logits logits = sequence->extend(tokens);
  const std::vector<float> before(logits.last().begin(), logits.last().end());
  (void)sequence->extend(tokens);
  sequence.reset();
  EXPECT_TRUE(std::ranges::equal(logits.last(), before));
}

TEST_P(CachedSequence, ThreadsShareAModel) {
  const Model model = load();
  std::vector<std::jthread> threads;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&model, seed] {
      Random random(seed);
      const std::vector<TokenId> tokens = random_tokens(random, model.info(), 30);
      Sequence sequence = model.new_sequence();
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        expect_close(sequence.extend({&tokens[i], 1}).last(),
                     model.forward_without_cache(std::span(tokens).first(i + 1)).last());
      }
    });
  }
}

TEST_P(CachedSequence, DecodingCopiesAndAllocatesNoCache) {
  const Model model = load();
  Sequence sequence = model.new_sequence();
  const std::vector<TokenId> prompt(8, 1);
  Logits logits = sequence.extend(prompt);
  model.reserve_cache(model.info().max_seq_len);
  const CacheStats before = model.cache_stats();
  std::size_t steps = 0;
  for (; sequence.fits(1); ++steps) {
    const TokenId next = logits.argmax();
    logits = sequence.extend({&next, 1});
  }
  const CacheStats after = model.cache_stats();
  EXPECT_EQ(after.bytes_copied, 0U);
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_EQ(after.bytes_allocated, before.bytes_allocated);
  EXPECT_EQ(after.in_place_runs - before.in_place_runs, steps * model.info().num_layers);
  EXPECT_EQ(after.growing_runs, 0U);
}

/// Whether a profiled node reads or writes a tensor of four axes, as only the cache has.
bool touches_cache(const nlohmann::json& args) {
  for (const char* side : {"input_type_shape", "output_type_shape"}) {
    for (const auto& tensor : args.value(side, nlohmann::json::array())) {
      const bool is_quantized_weight = tensor.begin().key() == "uint8";
      if (tensor.begin()->size() == 4 && !is_quantized_weight) {
        return true;
      }
    }
  }
  return false;
}

TEST_P(CachedSequence, TheProfileShowsOurNodesAndNoCopies) {
  const test::TemporaryDirectory directory;
  ModelOptions options;
  options.profile_prefix = directory.path() / "profile";
  const Model model = load(options);
  Sequence sequence = model.new_sequence();
  constexpr std::size_t kSteps = 5;
  for (TokenId token = 0; token < static_cast<TokenId>(kSteps); ++token) {
    (void)sequence.extend({&token, 1});
  }
  std::ifstream profile(model.end_profile());
  std::size_t attention_runs = 0;
  for (const auto& event : nlohmann::json::parse(profile)) {
    if (event.at("cat") != "Node") {
      continue;
    }
    const auto op = event.at("args").at("op_name").get<std::string>();
    EXPECT_EQ(op.find("Memcpy"), std::string::npos);
    if (op == "CachedAttention") {
      attention_runs += event.at("name").get<std::string>().ends_with("_kernel_time");
    } else {
      EXPECT_FALSE(touches_cache(event.at("args"))) << event;
    }
  }
  EXPECT_EQ(attention_runs, kSteps * model.info().num_layers);
}

TEST_P(CachedSequence, AFailedCallLeavesTheSequenceAsItWas) {
  const Model model = load();
  const auto vocab_size = static_cast<TokenId>(model.info().vocab_size);
  const std::size_t max_seq_len = model.info().max_seq_len;
  Random random(5);
  const std::vector<TokenId> tokens = random_tokens(random, model.info(), 10);
  Sequence sequence = model.new_sequence();
  (void)sequence.extend(std::span(tokens).first(9));

  const CacheStats before = model.cache_stats();
  expect_error(ErrorCode::empty_input, "no tokens were given", [&] { (void)sequence.extend({}); });
  const std::vector<TokenId> too_large{0, vocab_size};
  expect_error(ErrorCode::token_out_of_range,
               "token 1 of the input is " + std::to_string(vocab_size) + ", must be in [0, " +
                   std::to_string(vocab_size) + ")",
               [&] { (void)sequence.extend(too_large); });
  const std::vector<TokenId> negative{-1};
  expect_error(ErrorCode::token_out_of_range, "token 0 of the input is -1",
               [&] { (void)sequence.extend(negative); });
  const std::vector<TokenId> too_many(max_seq_len - 8, 0);
  EXPECT_FALSE(sequence.fits(too_many.size()));
  EXPECT_TRUE(sequence.fits(too_many.size() - 1));
  expect_error(ErrorCode::context_full,
               std::to_string(too_many.size()) + " tokens do not fit: 9 of the model's " +
                   std::to_string(max_seq_len) + " positions are used, " +
                   std::to_string(max_seq_len - 9) + " are free",
               [&] { (void)sequence.extend(too_many); });

  EXPECT_EQ(sequence.length(), 9U);
  EXPECT_EQ(model.cache_stats().blocks_in_use, before.blocks_in_use);
  expect_close(sequence.extend(std::span(tokens).subspan(9)).last(),
               model.forward_without_cache(tokens).last());
}

TEST_P(CachedSequence, CanBeExtendedByItsOwnTokens) {
  const Model model = load();
  const std::vector<TokenId> tokens{1, 2, 3};
  Sequence sequence = model.new_sequence();
  Sequence copied = model.new_sequence();
  sequence.extend(tokens);
  copied.extend(tokens);
  const Logits found = sequence.extend(sequence.tokens().subspan(1), LogitsFor::all);
  const Logits expected = copied.extend(std::vector<TokenId>{2, 3}, LogitsFor::all);
  EXPECT_TRUE(std::ranges::equal(sequence.tokens(), std::vector<TokenId>{1, 2, 3, 2, 3}));
  ASSERT_EQ(found.rows(), 2U);
  expect_close(found.row(1), expected.row(1));
}

TEST_P(CachedSequence, AFullCacheSaysSoAndChangesNothing) {
  ModelOptions options;
  options.block_len = 4;
  options.cache_bytes = std::size_t{12} * load().info().cache_bytes_per_token();
  const Model model = load(options);
  Sequence first = model.new_sequence();
  Sequence second = model.new_sequence();
  const std::vector<TokenId> eight(8, 1);
  (void)first.extend(eight);
  expect_error(ErrorCode::cache_full, "2 in use, 1 free, 2 more needed",
               [&] { (void)second.extend(eight); });
  EXPECT_EQ(second.length(), 0U);
  EXPECT_EQ(model.cache_stats().blocks_in_use, 2U);
  const std::vector<TokenId> four(4, 1);
  EXPECT_NO_THROW((void)second.extend(four));
  first.reset();
  EXPECT_NO_THROW((void)second.extend(four));
}

TEST_P(CachedSequence, AFullContextCanBeFilledToTheLastPosition) {
  const Model model = load();
  Random random(6);
  const std::vector<TokenId> tokens =
      random_tokens(random, model.info(), static_cast<std::int64_t>(model.info().max_seq_len));
  Sequence sequence = model.new_sequence();
  (void)sequence.extend(std::span(tokens).first(tokens.size() - 1));
  expect_close(sequence.extend({&tokens.back(), 1}).last(),
               model.forward_without_cache(tokens).last());
  EXPECT_FALSE(sequence.fits(1));
}

}  // namespace
}  // namespace kvcache
