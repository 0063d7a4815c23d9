// What a text longer than the context must satisfy.
#include "kvcache/windowed_sequence.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::expect_error;
using test::Random;
using test::random_tokens;

/// The definition, by one token at a time over a text that is there as a whole.
std::vector<TokenId> context_of(std::span<const TokenId> text, const WindowOptions& options) {
  std::vector<TokenId> context;
  for (const TokenId token : text) {
    if (context.size() == options.size + options.stride) {
      const auto sinks = static_cast<std::ptrdiff_t>(options.sinks);
      context.erase(context.begin() + sinks,
                    context.end() - (static_cast<std::ptrdiff_t>(options.size) - sinks));
    }
    context.push_back(token);
  }
  return context;
}

WindowOptions random_options(Random& random, std::size_t positions) {
  const auto most = static_cast<std::int64_t>(positions);
  const std::int64_t size = random.integer(1, most - 1);
  return {.size = static_cast<std::size_t>(size),
          .stride = static_cast<std::size_t>(random.integer(1, most - size)),
          .sinks = static_cast<std::size_t>(random.integer(0, size - 1)),
          .sliding = Sliding::encode_anew};
}

TEST(WindowedSequence, EqualsAPlainForwardOverTheKeptTokensHoweverItGrew) {
  test::for_random_cases(10, [](Random& random) {
    ModelOptions model_options;
    model_options.block_len = static_cast<std::size_t>(random.integer(1, 9));
    model_options.poison_freed_blocks = true;
    const Model model =
        Model::load(test::model_path(random.pick(test::golden_names())), model_options);
    const WindowOptions options = random_options(random, model.info().max_seq_len);
    WindowedSequence sequence(model, options);
    std::vector<TokenId> text;
    while (text.size() < 3 * model.info().max_seq_len) {
      const std::int64_t most = random.chance(0.1) ? 100 : 6;
      const std::vector<TokenId> tokens =
          random_tokens(random, model.info(), random.integer(1, most));
      text.insert(text.end(), tokens.begin(), tokens.end());
      const Logits logits = sequence.extend(tokens);
      const std::vector<TokenId> context = context_of(text, options);
      ASSERT_TRUE(std::ranges::equal(sequence.context().tokens(), context));
      ASSERT_EQ(sequence.length(), text.size());
      expect_close(logits.last(), model.forward_without_cache(context).last());
    }
    EXPECT_GT(sequence.slides(), 0U);
    model.check_cache_invariants();
  });
}

TEST(WindowedSequence, GeneratesTenThousandTokensInConstantMemory) {
  const Model model = Model::load(test::model_path("plain"));
  WindowedSequence sequence(model, {.size = 8, .stride = 8, .sinks = 2});
  const std::vector<TokenId> prompt(16, TokenId{1});
  Logits logits = sequence.extend(prompt);
  const auto generate = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const TokenId next = logits.argmax();
      logits = sequence.extend({&next, 1});
    }
  };
  generate(100);
  const CacheStats before = model.cache_stats();
  generate(9'900);
  const CacheStats after = model.cache_stats();
  EXPECT_EQ(sequence.length(), 10'016U);
  EXPECT_EQ(after.bytes_peak, before.bytes_peak);
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_LE(after.blocks_in_use * after.block_len, 2 * after.block_len);
  // Every eighth token encodes the six that are no sinks anew.
  EXPECT_EQ(sequence.slides(), 10'000U / 8);
  EXPECT_EQ(sequence.tokens_encoded_anew(), 6 * sequence.slides());
}

TEST(WindowedSequence, ChoosesHalfOfThePositions) {
  const Model model = Model::load(test::model_path("plain"));
  const WindowedSequence sequence(model);
  EXPECT_EQ(sequence.options().size, (model.info().max_seq_len + 1) / 2);
  EXPECT_EQ(sequence.options().size + sequence.options().stride, model.info().max_seq_len);
}

TEST(WindowedSequence, RefusesWindowsThatDoNotFit) {
  const Model model = Model::load(test::model_path("plain"));
  const std::size_t positions = model.info().max_seq_len;
  const auto make = [&](const WindowOptions& options) {
    return [&model, options] { WindowedSequence(model, options); };
  };
  expect_error(ErrorCode::invalid_argument, "size + stride must be at most the model's",
               make({.size = positions}));
  expect_error(ErrorCode::invalid_argument, "does not fit", make({.size = positions + 1}));
  expect_error(ErrorCode::invalid_argument, "does not fit", make({.size = 1, .stride = positions}));
  expect_error(ErrorCode::invalid_argument, "4 sinks leave no room",
               make({.size = 4, .stride = 1, .sinks = 4}));
}

TEST(WindowedSequence, AFailedCallLeavesTheTextAsItWas) {
  ModelOptions options;
  options.block_len = 4;
  const std::size_t token_bytes =
      Model::load(test::model_path("plain")).info().cache_bytes_per_token();
  options.cache_bytes =
      std::size_t{5} * 4 * token_bytes;  // no room for the old and the new context
  const Model model = Model::load(test::model_path("plain"), options);
  WindowedSequence sequence(model, {.size = 12, .stride = 4});
  const std::vector<TokenId> text(16, TokenId{2});
  sequence.extend(text);
  const TokenId next = 3;
  expect_error(ErrorCode::cache_full, "budget", [&] {
    static_cast<void>(sequence.extend({&next, 1}));
  });
  expect_error(ErrorCode::empty_input, "no tokens",
               [&] { static_cast<void>(sequence.extend({})); });
  EXPECT_EQ(sequence.length(), 16U);
  EXPECT_TRUE(std::ranges::equal(sequence.context().tokens(), text));
  EXPECT_EQ(sequence.slides(), 0U);
  const TokenId outside = static_cast<TokenId>(model.info().vocab_size);
  expect_error(ErrorCode::token_out_of_range, "vocabulary", [&] {
    static_cast<void>(sequence.extend({&outside, 1}));
  });
  std::vector<TokenId> long_text(40, TokenId{2});
  long_text[10] = outside;  // would slide out at once
  expect_error(ErrorCode::token_out_of_range, "token 10 of the input",
               [&] { static_cast<void>(sequence.extend(long_text)); });
  EXPECT_EQ(sequence.length(), 16U);
}

TEST(WindowedSequence, TakesItsOwnTokens) {
  const Model model = Model::load(test::model_path("plain"));
  for (const std::size_t length : {3U, 7U}) {  // 6 fit; 14 do not
    WindowedSequence text(model, {.size = 5, .stride = 3});
    WindowedSequence copied(model, {.size = 5, .stride = 3});
    const std::vector<TokenId> tokens(length, TokenId{4});
    text.extend(tokens);
    copied.extend(tokens);
    const Logits found = text.extend(text.context().tokens());
    const Logits expected = copied.extend(tokens);
    EXPECT_TRUE(std::ranges::equal(text.context().tokens(), copied.context().tokens()));
    test::expect_close(found.last(), expected.last());
  }
}

}  // namespace
}  // namespace kvcache
