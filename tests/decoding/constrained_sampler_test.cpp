// What is drawn where only some tokens are allowed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "kvcache/choices.hpp"
#include "kvcache/sampler.hpp"
#include "support/models.hpp"
#include "text/tiny_tokenizer.hpp"

namespace kvcache {
namespace {

using test::expect_error;
using test::Random;

TEST(ConstrainedSampler, DrawsFromTheRenormalisedProbabilities) {
  test::for_random_cases(200, [](Random& random) {
    const auto size = static_cast<std::size_t>(random.integer(1, 300));
    std::vector<float> logits(size);
    std::ranges::generate(logits, [&] { return 3 * random.normal(); });
    TokenMask mask(size);
    const double share = random.pick(std::vector<double>{0, 0.1, 0.9, 1});
    for (std::size_t token = 0; token < size; ++token) {
      if (random.chance(share)) {
        mask.allow(static_cast<TokenId>(token));
      }
    }
    mask.allow(random.integer(0, static_cast<std::int64_t>(size) - 1));
    const std::vector<TokenBias> biases{{0, random.normal()}};
    const double temperature = random.pick(std::vector<double>{0.7, 1, 1.8});
    std::map<TokenId, double> expected;
    double total = 0;
    for (const TokenId token : mask.tokens(size)) {
      const auto logit = static_cast<double>(logits[static_cast<std::size_t>(token)] +
                                             (token == 0 ? biases[0].bias : 0.0F));
      total += expected[token] = std::exp(logit / temperature);
    }
    Sampler sampler({.logit_bias = biases, .temperature = temperature});
    const auto found = sampler.distribution(logits, {.allowed = &mask});
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [token, probability] : found) {
      EXPECT_NEAR(probability, expected.at(token) / total, 1e-11);
    }
    Sampler greedy({.logit_bias = biases, .temperature = 0});
    EXPECT_EQ(greedy.sample(logits, {.allowed = &mask}), found.front().token);
    for (std::uint64_t position = 0; position < 50; ++position) {
      EXPECT_TRUE(mask.allows(sampler.sample(logits, {.position = position, .allowed = &mask})));
    }
  });
}

TEST(ConstrainedSampler, RefusesASetOfAnotherVocabularyAndTheEmptySet) {
  Sampler sampler;
  const std::vector<float> logits(4);
  const TokenMask larger(5);
  expect_error(ErrorCode::invalid_argument, "of a vocabulary of 5, and there are 4 logits",
               [&] { static_cast<void>(sampler.sample(logits, {.allowed = &larger})); });
  const TokenMask none(4);
  expect_error(ErrorCode::no_token_allowed, "the constraint allows none and the text cannot end",
               [&] { static_cast<void>(sampler.distribution(logits, {.allowed = &none})); });
}

/// 10,000 texts of a tokenizer's vocabulary, from random logits: each is one of the choices.
TEST(ConstrainedSampler, TenThousandTextsAreAmongTheChoices) {
  const Tokenizer tokenizer = Tokenizer::from_json(test::tiny_tokenizer().dump());
  const auto vocab_size = tokenizer.vocab_size();
  const std::vector<TokenId> stops{261};
  const TokenBytes bytes(tokenizer, vocab_size, stops);
  const std::vector<std::string> choices{
      "hello", "hell", "hello, world", "Nf3",      "e4",
      "O-O",   "é",    "漢字",         "🙂👍", "he said: hello"};
  const auto constraint = one_of(choices, bytes);
  std::map<std::string, std::size_t> counts;
  test::for_random_cases(10'000, [&](Random& random) {
    const auto state = constraint->fork();
    Sampler sampler({.seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000))});
    std::vector<TokenId> text;
    while (true) {
      std::vector<float> logits(vocab_size);
      std::ranges::generate(logits, [&] { return 3 * random.normal(); });
      TokenMask mask(vocab_size);
      state->allow_next(mask);
      if (state->may_end()) {
        mask.allow(stops.front());
      }
      const TokenId token = sampler.sample(logits, {.position = text.size(), .allowed = &mask});
      if (token == stops.front()) {
        break;
      }
      text.push_back(token);
      ASSERT_TRUE(state->accept(token));
    }
    const std::string said = tokenizer.decode(text);
    ASSERT_EQ(std::ranges::count(choices, said), 1) << said;
    ++counts[said];
  });
  EXPECT_EQ(counts.size(), choices.size());
}

}  // namespace
}  // namespace kvcache
