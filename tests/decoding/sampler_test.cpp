#include "kvcache/sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_error;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- The reference of numpy ---------------------------------------------------------------------

TEST(Sampler, GivesTheDistributionsOfNumpy) {
  std::ifstream file(KVCACHE_SAMPLING_GOLDEN);
  const auto cases = nlohmann::json::parse(file);
  ASSERT_GE(cases.size(), 60U);
  for (std::size_t number = 0; number < cases.size(); ++number) {
    SCOPED_TRACE("case " + std::to_string(number) + " of sampling_golden.json");
    const auto& of = cases[number];
    std::vector<float> logits;
    for (const int steps : of.at("logits")) {
      logits.push_back(static_cast<float>(steps) / 64);
    }
    SamplingOptions options;
    for (const auto& bias : of.at("logit_bias")) {
      options.logit_bias.push_back({bias[0].get<TokenId>(), bias[1].get<float>()});
    }
    options.repetition_penalty = of.at("repetition_penalty");
    options.frequency_penalty = of.at("frequency_penalty");
    options.presence_penalty = of.at("presence_penalty");
    options.temperature = of.at("temperature");
    options.top_k = of.at("top_k");
    options.top_p = of.at("top_p");
    options.min_p = of.at("min_p");
    options.typical_p = of.at("typical_p");
    const auto prompt = of.at("prompt").get<std::vector<TokenId>>();
    const auto generated = of.at("generated").get<std::vector<TokenId>>();

    Sampler sampler(options);
    auto found = sampler.distribution(logits, {.prompt = prompt, .generated = generated});
    EXPECT_TRUE(std::ranges::is_sorted(found, std::greater<>(), &TokenProbability::probability));
    std::ranges::sort(found, {}, &TokenProbability::token);
    const auto kept = of.at("kept").get<std::vector<TokenId>>();
    const auto probabilities = of.at("probabilities").get<std::vector<double>>();
    ASSERT_EQ(found.size(), kept.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      EXPECT_EQ(found[i].token, kept[i]);
      EXPECT_NEAR(found[i].probability, probabilities[i], 1e-11);
    }
  }
}

// ---- Distributions ------------------------------------------------------------------------------

std::vector<float> random_logits(test::Random& random, std::int64_t count) {
  std::vector<float> logits(static_cast<std::size_t>(count));
  std::ranges::generate(logits, [&] { return 3 * random.normal(); });
  return logits;
}

/// What chi-square with so many degrees of freedom exceeds once in a million (Wilson, Hilferty).
double one_in_a_million(double degrees) {
  const double spread = 2 / (9 * degrees);
  return degrees * std::pow(1 - spread + 4.7534 * std::sqrt(spread), 3);
}

/// Expects `draws` to be of this distribution, by probabilities in the order of ids.
void expect_drawn_from(const std::vector<double>& probabilities,
                       const std::vector<TokenId>& draws) {
  std::vector<std::size_t> counts(probabilities.size());
  for (const TokenId token : draws) {
    ++counts.at(static_cast<std::size_t>(token));
  }
  constexpr double kLeastExpected = 10;  // rarer tokens are counted together
  double chi_square = 0;
  double rare_expected = 0;
  double rare_found = 0;
  double degrees = -1;
  const auto add = [&](double found, double expected) {
    chi_square += (found - expected) * (found - expected) / expected;
    ++degrees;
  };
  for (std::size_t token = 0; token < probabilities.size(); ++token) {
    const double expected = probabilities[token] * static_cast<double>(draws.size());
    const auto found = static_cast<double>(counts[token]);
    if (expected == 0) {
      EXPECT_EQ(found, 0) << "token " << token << " was cut off";
    } else if (expected >= kLeastExpected) {
      add(found, expected);
    } else {
      rare_expected += expected;
      rare_found += found;
    }
  }
  if (rare_expected > 0) {
    add(rare_found, rare_expected);
  }
  ASSERT_GT(degrees, 0);
  EXPECT_LT(chi_square, one_in_a_million(degrees)) << degrees << " degrees of freedom";
}

/// Draws at the positions of a text.
std::vector<TokenId> draw_many(const SamplingOptions& options, const std::vector<float>& logits,
                               std::size_t count) {
  Sampler sampler(options);
  std::vector<TokenId> draws;
  for (std::uint64_t position = 0; position < count; ++position) {
    draws.push_back(sampler.sample(logits, {.position = position}));
  }
  return draws;
}

constexpr std::size_t kDraws = 20'000;

TEST(Sampler, DrawsFromTheSoftmax) {
  test::for_random_cases(6, [](test::Random& random) {
    // Several blocks of the denominator, and one that is not full.
    const std::vector<float> logits = random_logits(random, random.integer(2, 1000));
    const double temperature = random.pick(std::vector<double>{1, 0.7, 1.8});
    std::vector<double> probabilities;
    probabilities.reserve(logits.size());
    for (const float logit : logits) {
      probabilities.push_back(std::exp(static_cast<double>(logit) / temperature));
    }
    const double total = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
    std::ranges::for_each(probabilities, [&](double& probability) { probability /= total; });
    const auto seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000));
    expect_drawn_from(probabilities,
                      draw_many({.temperature = temperature, .seed = seed}, logits, kDraws));
  });
}

TEST(Sampler, DrawsFromWhatTheCutsLeave) {
  test::for_random_cases(6, [](test::Random& random) {
    const std::vector<float> logits = random_logits(random, 200);
    // The ten largest, of which those stay that are half a percent as probable as the first.
    std::vector<float> sorted = logits;
    std::ranges::sort(sorted, std::greater<>());
    const float least = std::max(sorted[9], sorted[0] + std::log(0.005F));
    std::vector<double> probabilities;
    probabilities.reserve(logits.size());
    for (const float logit : logits) {
      probabilities.push_back(logit >= least ? std::exp(static_cast<double>(logit)) : 0.0);
    }
    const double total = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
    std::ranges::for_each(probabilities, [&](double& probability) { probability /= total; });
    const auto seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000));
    expect_drawn_from(probabilities,
                      draw_many({.top_k = 10, .min_p = 0.005, .seed = seed}, logits, kDraws));
  });
}

TEST(Sampler, SamplesOfOneSeedAreIndependentOfEachOther) {
  Sampler sampler({.seed = 3});
  const std::vector<float> logits(4, 0.0F);
  std::vector<TokenId> pairs;  // of what two samples draw at a position: any of 16 as often
  for (std::uint64_t position = 0; position < kDraws; ++position) {
    const TokenId one = sampler.sample(logits, {.sample = 0, .position = position});
    const TokenId other = sampler.sample(logits, {.sample = 1, .position = position});
    pairs.push_back(4 * one + other);
  }
  expect_drawn_from(std::vector<double>(16, 1.0 / 16), pairs);
}

// ---- Against a plain reference over whole vocabularies ------------------------------------------

/// What the cuts leave, with the definition of each written down plainly.
std::vector<TokenId> kept_by_reference(const std::vector<float>& logits,
                                       const SamplingOptions& options) {
  struct Token {
    double weight;
    TokenId id;
  };
  const double largest = *std::ranges::max_element(logits);
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    tokens.push_back({std::exp((static_cast<double>(logits[i]) - largest) / options.temperature),
                      static_cast<TokenId>(i)});
  }
  std::ranges::stable_sort(tokens, std::greater<>(), &Token::weight);
  const auto total = [&] {
    return std::accumulate(tokens.begin(), tokens.end(), 0.0,
                           [](double sum, const Token& token) { return sum + token.weight; });
  };
  if (options.top_k > 0 && options.top_k < tokens.size()) {
    const double last = tokens[options.top_k - 1].weight;
    std::erase_if(tokens, [&](const Token& token) { return token.weight < last; });
  }
  if (options.top_p < 1) {
    const double limit = options.top_p * total();
    double before = 0;
    std::size_t count = 0;
    while (count < tokens.size() && (count == 0 || before < limit)) {
      before += tokens[count++].weight;
    }
    tokens.resize(count);
  }
  std::erase_if(tokens, [&](const Token& token) { return token.weight < options.min_p; });
  if (options.typical_p < 1) {
    const double all = total();
    double entropy = 0;
    for (const Token& token : tokens) {
      entropy -= token.weight / all * std::log(token.weight / all);
    }
    const auto distance = [&](const Token& token) {
      return std::abs(-std::log(token.weight / all) - entropy);
    };
    std::ranges::sort(tokens, {}, distance);
    double mass = 0;
    std::size_t count = 0;
    while (count < tokens.size() && mass < options.typical_p * all) {
      mass += tokens[count++].weight;
    }
    tokens.resize(count);
  }
  std::vector<TokenId> kept;
  std::ranges::transform(tokens, std::back_inserter(kept), &Token::id);
  std::ranges::sort(kept);
  return kept;
}

TEST(Sampler, KeepsOfWholeVocabulariesWhatTheDefinitionsKeep) {
  test::for_random_cases(60, [](test::Random& random) {
    std::vector<float> logits = random_logits(random, random.integer(1, 50'000));
    if (random.chance(0.3)) {
      logits[static_cast<std::size_t>(random.integer(0, std::ssize(logits) - 1))] = 30;
    }
    SamplingOptions options;
    options.temperature = random.pick(std::vector<double>{1, 0.5, 2});
    options.top_k = random.chance(0.5) ? static_cast<std::size_t>(random.integer(1, 300)) : 0;
    options.top_p = random.pick(std::vector<double>{1, 0.9, 0.5, 0.01, 0});
    options.min_p = random.pick(std::vector<double>{0, 0.02, 0.3, 1});
    options.typical_p = random.pick(std::vector<double>{1, 0.95, 0.2});
    std::vector<TokenId> found;
    double sum = 0;
    for (const auto& [token, probability] : Sampler(options).distribution(logits, {})) {
      found.push_back(token);
      sum += probability;
    }
    std::ranges::sort(found);
    EXPECT_EQ(found, kept_by_reference(logits, options));
    EXPECT_NEAR(sum, 1, 1e-12);
  });
}

TEST(Sampler, DrawsOnlyWhatItsDistributionHas) {
  test::for_random_cases(40, [](test::Random& random) {
    const std::vector<float> logits = random_logits(random, random.integer(1, 600));
    const std::vector<TokenId> text{0, 0, random.integer(0, std::ssize(logits) - 1)};
    SamplingOptions options;
    options.repetition_penalty = 1.3;
    options.frequency_penalty = 0.4;
    options.temperature = random.pick(std::vector<double>{0, 1, 3});
    options.top_k = random.chance(0.5) ? 20 : 0;
    options.top_p = random.pick(std::vector<double>{1, 0.6});
    Sampler sampler(options);
    std::set<TokenId> kept;
    for (const auto& token : sampler.distribution(logits, {.prompt = text, .generated = text})) {
      kept.insert(token.token);
    }
    for (std::uint64_t position = 0; position < 50; ++position) {
      EXPECT_TRUE(kept.contains(
          sampler.sample(logits, {.prompt = text, .generated = text, .position = position})));
    }
  });
}

// ---- Edges --------------------------------------------------------------------------------------

TEST(Sampler, TheSameNumbersDrawTheSameToken) {
  const std::vector<float> logits{0.5F, 0.1F, 0.9F, -1};
  Sampler one({.seed = 5});
  Sampler other({.seed = 5});
  static_cast<void>(other.sample(logits, {.position = 77}));  // nothing is remembered
  std::map<TokenId, int> seen;
  for (std::uint64_t position = 0; position < 100; ++position) {
    const TokenId token = one.sample(logits, {.sample = 2, .position = position});
    EXPECT_EQ(token, other.sample(logits, {.sample = 2, .position = position}));
    ++seen[token];
  }
  EXPECT_EQ(seen.size(), 4U);
}

TEST(Sampler, TemperatureZeroTakesTheFirstOfTheLargest) {
  Sampler greedy({.temperature = 0});
  EXPECT_EQ(greedy.sample(std::vector<float>{1, 3, 3, 2}, {}), 1);
  const auto all = greedy.distribution(std::vector<float>{1, 3, 3, 2}, {});
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all.front().token, 1);
  EXPECT_EQ(all.front().probability, 1);
  Sampler penalized({.repetition_penalty = 2, .temperature = 0});
  const std::vector<TokenId> prompt{1};
  EXPECT_EQ(penalized.sample(std::vector<float>{1, 3, 2.5F, 2}, {.prompt = prompt}), 2);
}

TEST(Sampler, AVerySmallTemperatureTakesTheLargest) {
  for (const double temperature : {1e-5, 1e-300, 1e-320}) {
    Sampler sampler({.temperature = temperature});
    for (std::uint64_t position = 0; position < 20; ++position) {
      EXPECT_EQ(sampler.sample(std::vector<float>{1, 1.01F, -kInfinity}, {.position = position}),
                1);
    }
  }
}

TEST(Sampler, WhatIsBannedNeverComes) {
  SamplingOptions options;
  options.logit_bias = {{0, -kInfinity}, {2, -kInfinity}};
  Sampler sampler(options);
  for (std::uint64_t position = 0; position < 50; ++position) {
    EXPECT_EQ(sampler.sample(std::vector<float>{100, 1, 100}, {.position = position}), 1);
  }
  options.logit_bias.push_back({1, -kInfinity});
  Sampler none(options);
  expect_error(ErrorCode::invalid_argument, "no token can follow: all 3 logits", [&] {
    static_cast<void>(none.sample(std::vector<float>{1, 2, 3}, {}));
  });
}

TEST(Sampler, PenaltiesCountWhatWasDrawnAndNotThePrompt) {
  SamplingOptions options;
  options.frequency_penalty = 1;
  options.presence_penalty = 0.5;
  const std::vector<TokenId> prompt{0, 0, 0};
  const std::vector<TokenId> generated{1, 1};
  Sampler sampler(options);
  const std::vector<float> logits{0, 0, 0};
  for (int again = 0; again < 2; ++again) {  // nothing is remembered
    auto found = sampler.distribution(logits, {.prompt = prompt, .generated = generated});
    std::ranges::sort(found, {}, &TokenProbability::token);
    const double penalized = std::exp(-2.5);
    EXPECT_NEAR(found[0].probability, 1 / (2 + penalized), 1e-12);
    EXPECT_NEAR(found[1].probability, penalized / (2 + penalized), 1e-12);
  }
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  Sampler sampler;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    expect_error(ErrorCode::logits_invalid, "the logit of token 1 is", [&] {
      static_cast<void>(sampler.sample(std::vector<float>{1, bad, 3}, {}));
    });
  }
  expect_error(ErrorCode::invalid_argument, "no logits were given",
               [&] { static_cast<void>(sampler.sample(std::span<const float>(), {})); });
}

TEST(Sampler, RefusesTokensOutsideTheVocabulary) {
  const std::vector<float> logits{1, 2, 3};
  SamplingOptions options;
  options.presence_penalty = 1;
  Sampler sampler(options);
  for (const TokenId token : {TokenId{3}, TokenId{-1}}) {
    const std::vector<TokenId> text{0, token};
    expect_error(ErrorCode::token_out_of_range, "the generated text names token",
                 [&] { static_cast<void>(sampler.sample(logits, {.generated = text})); });
    expect_error(ErrorCode::token_out_of_range, "the prompt names token",
                 [&] { static_cast<void>(sampler.sample(logits, {.prompt = text})); });
    options.logit_bias = {{token, 1}};
    Sampler biased(options);
    expect_error(ErrorCode::token_out_of_range, "must be in [0, 3)",
                 [&] { static_cast<void>(biased.sample(logits, {})); });
  }
}

TEST(Sampler, RefusesOptionsOutsideTheirRange) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto expect_refused = [](const std::string& name, double SamplingOptions::*field,
                                 std::initializer_list<double> values) {
    for (const double value : values) {
      SamplingOptions options;
      options.*field = value;
      expect_error(ErrorCode::invalid_argument, "the sampling option " + name + " is ",
                   [&] { static_cast<void>(Sampler(options)); });
    }
  };
  constexpr double kLargest = std::numeric_limits<double>::max();
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  expect_refused("temperature", &SamplingOptions::temperature, {-0.1, kNan, kInfinite});
  expect_refused("top_p", &SamplingOptions::top_p, {-0.1, 1.1, kNan});
  expect_refused("min_p", &SamplingOptions::min_p, {-0.1, 1.1, kNan});
  expect_refused("typical_p", &SamplingOptions::typical_p, {0, -0.1, 1.1, kNan});
  expect_refused("repetition_penalty", &SamplingOptions::repetition_penalty,
                 {0, -1, kNan, kInfinite, kLargest, 1e-300});
  expect_refused("frequency_penalty", &SamplingOptions::frequency_penalty,
                 {kNan, kInfinite, -kLargest});
  expect_refused("presence_penalty", &SamplingOptions::presence_penalty,
                 {kNan, -kInfinite, kLargest});
  for (const float bias : {kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    SamplingOptions options;
    options.logit_bias = {{7, bias}};
    expect_error(ErrorCode::invalid_argument, "logit_bias of token 7 is",
                 [&] { static_cast<void>(Sampler(options)); });
  }
}

}  // namespace
}  // namespace kvcache
