// Texts that have to be something: alone, several, guessed, searched.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "kvcache/beam_search.hpp"
#include "kvcache/choices.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/sampler.hpp"
#include "kvcache/speculation.hpp"
#include "support/models.hpp"
#include "text/tiny_tokenizer.hpp"

namespace kvcache {
namespace {

using test::expect_error;
using test::Random;

/// Random moves of a policy: sequences of tokens, some of which begin others.
std::vector<std::vector<TokenId>> moves_of_chance(Random& random, const ModelInfo& info) {
  std::vector<std::vector<TokenId>> moves;
  for (std::int64_t i = random.integer(1, 12); i > 0; --i) {
    std::vector<TokenId> move = test::random_tokens(random, info, random.integer(1, 6));
    if (!moves.empty() && random.chance(0.5)) {
      const std::vector<TokenId>& other = random.pick(moves);
      const auto shared = random.integer(1, std::ssize(other));
      move.insert(move.begin(), other.begin(), other.begin() + shared);
    }
    moves.push_back(std::move(move));
  }
  return moves;
}

std::vector<TokenId> without_stop(const Generated& found) {
  std::vector<TokenId> tokens = found.tokens;
  if (found.finish_reason == FinishReason::stop_token) {
    tokens.pop_back();
  }
  return tokens;
}

/// Guesses what a text goes on with, which it knows.
class Foreseeing final : public Drafter {
 public:
  explicit Foreseeing(std::vector<TokenId> text) : text_(std::move(text)) {}

  TokenTree draft(std::span<const TokenId> text, std::size_t most) override {
    TokenTree tree;
    for (std::size_t i = 0; i < most && text.size() + i < text_.size(); ++i) {
      tree.tokens.push_back(text_[text.size() + i]);
      tree.parents.push_back(static_cast<std::int32_t>(i) - 1);
    }
    return tree;
  }

 private:
  std::vector<TokenId> text_;
};

class Constrained : public testing::Test {
 protected:
  /// A stop token, which is in no move, and a limit that no move reaches.
  GenerateOptions random_options(Random& random, const Constraint& constraint) const {
    GenerateOptions options{.max_new_tokens = 20};
    options.sampling.seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000));
    options.sampling.temperature = random.pick(std::vector<double>{0, 1, 2});
    options.sampling.top_k = random.chance(0.3) ? 3 : 0;
    options.sampling.top_p = options.sampling.temperature > 0 && random.chance(0.3) ? 0.9 : 1;
    options.sampling.repetition_penalty = random.pick(std::vector<double>{1, 1.2});
    options.stop_tokens = {stop_};
    options.constraint = &constraint;
    return options;
  }

  std::vector<std::vector<TokenId>> moves(Random& random) const {
    auto found = moves_of_chance(random, model_.info());
    for (auto& move : found) {
      std::ranges::replace(move, stop_, TokenId{0});
    }
    return found;
  }

  test::ForcedCpu forced_cpu_;  // where results are the same bits in any company
  Model model_ = Model::load(test::model_path("plain"));
  std::size_t vocab_size_ = model_.info().vocab_size;
  TokenId stop_ = static_cast<TokenId>(vocab_size_) - 1;
  std::vector<TokenId> prompt_{3, 1, 2};
};

TEST_F(Constrained, ATextIsAlwaysOneOfTheMoves) {
  test::for_random_cases(60, [&](Random& random) {
    const auto allowed = moves(random);
    const auto constraint = one_of(allowed, vocab_size_);
    const GenerateOptions options = random_options(random, *constraint);
    Sequence sequence = model_.new_sequence();
    for (const Generated& found : generate_samples(sequence, prompt_, 5, options)) {
      EXPECT_EQ(std::ranges::count(allowed, without_stop(found)) > 0, true);
      EXPECT_TRUE(found.meets_constraint);
      EXPECT_TRUE(found.finish_reason == FinishReason::stop_token ||
                  found.finish_reason == FinishReason::complete);
    }
    EXPECT_FALSE(constraint->may_end());  // it stays as it is
  });
}

/// Each token is drawn as a sampler draws it from what the model says, forbidden tokens left out;
/// alone, among others, and with guesses.
TEST_F(Constrained, ATextIsTheSameAloneAmongOthersAndWithGuesses) {
  test::for_random_cases(40, [&](Random& random) {
    const auto allowed = moves(random);
    const auto constraint = one_of(allowed, vocab_size_);
    const GenerateOptions options = random_options(random, *constraint);
    Sequence shared = model_.new_sequence();
    const std::vector<Generated> together = generate_samples(shared, prompt_, 3, options);
    Sequence single = model_.new_sequence();
    const Generated alone = generate(single, prompt_, options);
    EXPECT_EQ(alone.tokens, together.front().tokens);
    std::vector<TokenId> whole = prompt_;
    whole.insert(whole.end(), alone.tokens.begin(), alone.tokens.end());
    DraftModel of_model(model_);
    Foreseeing of_text(whole);
    for (Drafter* drafter : {static_cast<Drafter*>(&of_model), static_cast<Drafter*>(&of_text)}) {
      Sequence guessed = model_.new_sequence();
      SpeculationStats stats;
      const Generated speculated =
          generate(guessed, prompt_, options, *drafter, {.max_drafts = 7}, &stats);
      EXPECT_EQ(speculated.tokens, alone.tokens);
      EXPECT_EQ(speculated.finish_reason, alone.finish_reason);
      EXPECT_TRUE(std::ranges::equal(guessed.tokens(), single.tokens()));
      EXPECT_EQ(stats.runs + stats.accepted, alone.tokens.size() - 1);
      EXPECT_TRUE(stats.accepted > 0 || drafter != &of_text || alone.tokens.size() < 4);
    }

    for (std::size_t sample = 0; sample < together.size(); ++sample) {
      std::vector<TokenId> text = prompt_;
      const auto state = constraint->fork();
      Sampler sampler(options.sampling);
      for (const TokenId token : together[sample].tokens) {
        const Logits logits = model_.forward_without_cache(text);
        std::vector<float> changed(logits.row(0).begin(), logits.row(0).end());
        TokenMask mask(vocab_size_);
        state->allow_next(mask);
        if (state->may_end()) {
          mask.allow(stop_);
        }
        for (std::size_t id = 0; id < vocab_size_; ++id) {
          if (!mask.allows(static_cast<TokenId>(id))) {
            changed[id] = -std::numeric_limits<float>::infinity();
          }
        }
        EXPECT_EQ(sampler.sample(changed, {.prompt = prompt_,
                                           .generated = std::span(text).subspan(prompt_.size()),
                                           .sample = sample,
                                           .position = text.size()}),
                  token);
        text.push_back(token);
        EXPECT_EQ(state->accept(token), token != stop_);
      }
    }
  });
}

/// A drafter that knows the moves' first tokens and others: what is forbidden is not evaluated.
TEST_F(Constrained, ForbiddenGuessesAreNotEvaluated) {
  class Guess final : public Drafter {
   public:
    TokenTree draft(std::span<const TokenId>, std::size_t most) override {
      TokenTree tree{.tokens = {9, 4, 5}, .parents = {-1, -1, 1}};
      tree.tokens.resize(std::min<std::size_t>(most, 3));
      tree.parents.resize(tree.tokens.size());
      return tree;
    }
  };
  const auto constraint =
      one_of(std::vector<std::vector<TokenId>>{{7, 4, 5, 6, 4, 5}}, vocab_size_);
  GenerateOptions options{.max_new_tokens = 12, .constraint = constraint.get()};
  Sequence sequence = model_.new_sequence();
  Guess drafter;
  SpeculationStats stats;
  const Generated found = generate(sequence, prompt_, options, drafter, {}, &stats);
  EXPECT_EQ(found.tokens, (std::vector<TokenId>{7, 4, 5, 6, 4, 5}));
  EXPECT_EQ(found.finish_reason, FinishReason::complete);
  EXPECT_EQ(stats.accepted, stats.drafted);  // the others were left out
  class Outside final : public Drafter {
   public:
    TokenTree draft(std::span<const TokenId>, std::size_t) override {
      return {.tokens = {100'000}, .parents = {-1}};
    }
  };
  Outside outside;
  sequence.reset();
  expect_error(ErrorCode::token_out_of_range, "is token 100000",
               [&] { static_cast<void>(generate(sequence, prompt_, options, outside)); });
}

TEST_F(Constrained, LogProbabilitiesAreOfTheAllowedTokens) {
  const auto constraint =
      one_of(std::vector<std::vector<TokenId>>{{5, 1}, {7, 1}, {9}}, vocab_size_);
  GenerateOptions options{.max_new_tokens = 4, .constraint = constraint.get()};
  options.log_probabilities = 5;
  options.sampling.temperature = 3;
  options.stop_tokens = {stop_};
  Sequence sequence = model_.new_sequence();
  const Generated found = generate(sequence, prompt_, options);
  const Logits logits = model_.forward_without_cache(prompt_);
  std::map<TokenId, double> weights;
  double total = 0;
  for (const TokenId token : {5, 7, 9}) {
    weights[token] = std::exp(static_cast<double>(logits.last()[static_cast<std::size_t>(token)]));
    total += weights[token];
  }
  const TokenLogProbabilities& first = found.log_probabilities.front();
  EXPECT_NEAR(first.chosen, std::log(weights[found.tokens.front()] / total), 1e-6);
  ASSERT_EQ(first.most_probable.size(), 3U);
  EXPECT_TRUE(std::ranges::is_sorted(first.most_probable, std::greater<>(),
                                     &TokenLogProbability::log_probability));
  for (const auto& [token, log_probability] : first.most_probable) {
    EXPECT_NEAR(log_probability, std::log(weights[token] / total), 1e-6);
  }
  if (found.tokens.size() > 1) {  // a single one is certain
    EXPECT_EQ(found.log_probabilities[1].chosen, 0);
  }
}

/// Of all moves, the one that the model finds most probable, when the beams are as many as they.
TEST_F(Constrained, BeamsFindTheMostProbableMoves) {
  test::for_random_cases(20, [&](Random& random) {
    auto allowed = moves(random);
    for (auto& move : allowed) {
      move.resize(3, 2);  // of one length, so that none is the beginning of another
    }
    std::ranges::sort(allowed);
    allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
    const auto constraint = one_of(allowed, vocab_size_);
    Sequence sequence = model_.new_sequence();
    const std::vector<Beam> beams = beam_search(
        sequence, prompt_, {.beams = 16, .max_new_tokens = 5, .constraint = constraint.get()});
    ASSERT_EQ(beams.size(), allowed.size());
    for (const Beam& beam : beams) {
      EXPECT_EQ(std::ranges::count(allowed, beam.tokens), 1);
      EXPECT_EQ(beam.finish_reason, FinishReason::complete);
      EXPECT_TRUE(beam.meets_constraint);
      std::vector<TokenId> text = prompt_;
      double log_probability = 0;
      for (const TokenId token : beam.tokens) {
        log_probability += model_.forward_without_cache(text)
                               .log_probabilities(std::vector<TokenId>{token}, 0)
                               .front();
        text.push_back(token);
      }
      EXPECT_NEAR(beam.log_probability, log_probability, 1e-4);
    }
    EXPECT_TRUE(std::ranges::is_sorted(beams, std::greater<>(), &Beam::score));
  });
}

TEST_F(Constrained, AWindowedTextIsOneOfTheMovesToo) {
  const std::vector<TokenId> move(3 * model_.info().max_seq_len, 4);
  const auto constraint = one_of(std::vector<std::vector<TokenId>>{move}, vocab_size_);
  WindowedSequence windowed(model_, {.size = 16, .stride = 8});
  GenerateOptions options{.max_new_tokens = 1000, .constraint = constraint.get()};
  EXPECT_EQ(generate(windowed, prompt_, options).tokens, move);
}

TEST_F(Constrained, SaysWhetherATextWasCutOff) {
  const auto constraint =
      one_of(std::vector<std::vector<TokenId>>{{4, 4}, {4, 4, 4, 4}}, vocab_size_);
  GenerateOptions options{.max_new_tokens = 1, .constraint = constraint.get()};
  const auto expect_cut = [&](std::size_t count, FinishReason reason, bool meets) {
    options.max_new_tokens = count;
    Sequence sequence = model_.new_sequence();
    const Generated found = generate(sequence, prompt_, options);
    EXPECT_EQ(found.finish_reason, reason);
    EXPECT_EQ(found.meets_constraint, meets) << count;
  };
  expect_cut(1, FinishReason::length, false);
  expect_cut(2, FinishReason::length, true);  // cut off, where it may end
  expect_cut(3, FinishReason::length, false);
  expect_cut(4, FinishReason::complete, true);
  expect_cut(5, FinishReason::complete, true);
  const Tokenizer tokenizer = Tokenizer::from_json(test::tiny_tokenizer().dump());
  options.tokenizer = &tokenizer;
  options.stop_strings = {std::string(2, '\4')};
  expect_cut(5, FinishReason::stop_string, false);
}

/// Allows a token and then none, or accepts what it has not allowed.
class Broken final : public Constraint {
 public:
  Broken(std::size_t vocab_size, bool accepts) : vocab_size_(vocab_size), accepts_(accepts) {}
  [[nodiscard]] std::size_t vocab_size() const noexcept override { return vocab_size_; }
  void allow_next(TokenMask& mask) const override {
    if (accepted_ < 2) {
      mask.allow(5);
    }
  }
  [[nodiscard]] bool may_end() const override { return false; }
  [[nodiscard]] bool accept(TokenId /*token*/) override {
    ++accepted_;
    return accepts_;
  }
  void rollback(std::size_t tokens) override { accepted_ -= tokens; }
  [[nodiscard]] std::unique_ptr<Constraint> fork() const override {
    return std::make_unique<Broken>(*this);
  }

 private:
  std::size_t vocab_size_;
  bool accepts_;
  std::size_t accepted_ = 0;
};

TEST_F(Constrained, DeadEndsSayWhatWasProduced) {
  const Broken leads_nowhere(vocab_size_, true);
  GenerateOptions options{.max_new_tokens = 8, .constraint = &leads_nowhere};
  const Tokenizer tokenizer = Tokenizer::from_json(test::tiny_tokenizer().dump());
  options.tokenizer = &tokenizer;
  Sequence sequence = model_.new_sequence();
  static_cast<void>(sequence.extend(prompt_));
  const auto expect_dead_end = [&](const char* message) {
    expect_error(ErrorCode::no_token_allowed, message,
                 [&] { static_cast<void>(generate(sequence, prompt_, options)); });
    expect_error(ErrorCode::no_token_allowed, message,
                 [&] { static_cast<void>(generate_samples(sequence, prompt_, 2, options)); });
    EXPECT_TRUE(std::ranges::equal(sequence.tokens(), prompt_));
  };
  expect_dead_end(
      "after 2 new tokens (5, 5), with the text \"\\u0005\\u0005\" so far, the "
      "constraint allows no token, and the text may not end here");
  expect_error(
      ErrorCode::no_token_allowed, "after 2 new tokens, the constraint allows no token to", [&] {
        static_cast<void>(
            beam_search(sequence, prompt_, {.max_new_tokens = 8, .constraint = &leads_nowhere}));
      });
  EXPECT_TRUE(std::ranges::equal(sequence.tokens(), prompt_));
  const Broken contradicts(vocab_size_, false);
  options.constraint = &contradicts;
  expect_error(ErrorCode::run_failed, "allowed token 5 and did not accept it",
               [&] { static_cast<void>(generate(sequence, prompt_, options)); });
  EXPECT_TRUE(std::ranges::equal(sequence.tokens(), prompt_));

  const auto move = one_of(std::vector<std::vector<TokenId>>{{5}, {7}}, vocab_size_);
  options.constraint = move.get();
  options.sampling.logit_bias = {{5, -std::numeric_limits<float>::infinity()},
                                 {7, -std::numeric_limits<float>::infinity()}};
  expect_dead_end(
      "the constraint allows 2 (5, 7), and the logits of these, with their biases, are");
}

TEST_F(Constrained, RefusesAConstraintOfAnotherVocabulary) {
  const auto other = one_of(std::vector<std::vector<TokenId>>{{5}}, vocab_size_ + 1);
  GenerateOptions options{.max_new_tokens = 8, .constraint = other.get()};
  Sequence sequence = model_.new_sequence();
  const auto refused = [&](const auto& call) {
    expect_error(ErrorCode::invalid_argument, "the constraint is of a vocabulary of", call);
    EXPECT_EQ(sequence.length(), 0U);
  };
  refused([&] { static_cast<void>(generate(sequence, prompt_, options)); });
  refused([&] { static_cast<void>(generate_samples(sequence, prompt_, 2, options)); });
  refused([&] {
    static_cast<void>(
        beam_search(sequence, prompt_, {.max_new_tokens = 2, .constraint = other.get()}));
  });
}

/// A stop token that moves have themselves: it may come where it completes one.
TEST_F(Constrained, AStopTokenOfTheMovesEndsThemWhereItCompletesOne) {
  const auto constraint =
      one_of(std::vector<std::vector<TokenId>>{{4, stop_}, {stop_, 4}, {6, stop_}}, vocab_size_);
  GenerateOptions options{.max_new_tokens = 8, .constraint = constraint.get()};
  options.stop_tokens = {stop_};
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    options.sampling.seed = seed;
    Sequence sequence = model_.new_sequence();
    const Generated found = generate(sequence, prompt_, options);
    ASSERT_EQ(found.tokens.size(), 2U);
    EXPECT_TRUE(found.tokens[0] == 4 || found.tokens[0] == 6);
    EXPECT_EQ(found.tokens[1], stop_);
    EXPECT_TRUE(found.meets_constraint);
    EXPECT_EQ(found.finish_reason, FinishReason::stop_token);
  }
}

}  // namespace
}  // namespace kvcache
