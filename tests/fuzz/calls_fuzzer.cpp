// Random calls on two models at once. Every three bytes are one step: what is done with which
// model, and the seed of the step, so that what libFuzzer cuts, repeats and moves are calls.
//
// Invariants are those of the random histories (tests/support/history.hpp): tokens, logits as a
// forward that knows no cache gives them, every block in one place. Calls that break a rule or mix
// the models must be refused with a code and change nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

#include "support/history.hpp"

namespace kvcache {
namespace {

using test::expect_error;
using test::History;
using test::Random;
using test::random_tokens;

Model load(const char* golden, std::size_t block_len, int num_threads) {
  ModelOptions options;
  options.block_len = block_len;
  options.num_threads = num_threads;
  options.poison_freed_blocks = true;
  options.require_device = Device::cpu;
  return Model::load(test::model_path(golden), options);
}

/// What programs do with one model, and everything of it that holds blocks.
class Program {
 public:
  Program(Random& random, const Model& model)
      : random_(random), model_(model), history_(random, model, true), prefixes_(model) {
    window_.emplace(model, WindowOptions{.size = 12, .stride = 5, .sinks = 2});
  }

  void change_sequences() { history_.step(); }

  /// Computes a text that may begin like earlier ones, of which there are few.
  void reuse_prefix() {
    std::vector<TokenId> text(static_cast<std::size_t>(random_.integer(1, 20)));
    std::ranges::generate(text, [&] { return random_.chance(0.9) ? 1 : 2; });
    const std::size_t known = prefixes_.longest_match(text);
    Sequence sequence = prefixes_.acquire(text);
    EXPECT_EQ(sequence.length(), known);
    EXPECT_LT(known, text.size());
    const Logits logits = sequence.extend(std::span(text).subspan(known));
    test::expect_as_uncached(model_, logits.last(), text);
    prefixes_.insert(sequence);
  }

  void slide_window() {
    const auto tokens = random_tokens(random_, model_.info(), random_.integer(1, 30));
    const std::uint64_t length = window_->length();
    const Logits logits = window_->extend(tokens);
    EXPECT_EQ(window_->length(), length + tokens.size());
    test::expect_as_uncached(model_, logits.last(), window_->context().tokens());
  }

  /// One of the calls that break a rule, on a text with and without a place for what they ask.
  void break_a_rule() {
    Sequence text = model_.new_sequence();
    const auto tokens = random_tokens(random_, model_.info(), random_.integer(1, 9));
    text.extend(tokens);
    refuse(text);
    EXPECT_TRUE(std::ranges::equal(text.tokens(), tokens));
    const auto more = random_tokens(random_, model_.info(), 3);
    const Logits logits = text.extend(more);
    test::expect_as_uncached(model_, logits.last(), text.tokens());
  }

  /// A state of this model loaded into another, a batch over both, a tree of one committed to the
  /// other.
  void mix_with(const Model& foreign) {
    const test::TemporaryDirectory directory;
    const auto path = directory.path() / "text.state";
    Sequence text = model_.new_sequence();
    Sequence other = foreign.new_sequence();
    const auto tokens = random_tokens(random_, model_.info(), random_.integer(1, 9));
    text.extend(tokens);
    text.save(path);
    expect_error(ErrorCode::state_mismatch, "another model",
                 [&] { (void)foreign.load_sequence(path); });
    const std::vector<Extension> batch{{&text, tokens}, {&other, tokens}};
    expect_error(ErrorCode::invalid_argument, "of another model", [&] { extend(batch); });
    const TreeEvaluation tree = text.evaluate({{1, 2}, {-1, 0}});
    expect_error(ErrorCode::invalid_argument, "cannot commit", [&] { other.commit(tree, 1); });
    expect_error(ErrorCode::invalid_argument, "of another model", [&] { prefixes_.insert(other); });
    EXPECT_EQ(text.length(), tokens.size());
    EXPECT_EQ(other.length(), 0U);
  }

  void check() { history_.check(); }

  /// Lets go of everything.
  void end() {
    history_.clear();
    prefixes_.clear();
    window_.reset();
    EXPECT_EQ(model_.cache_stats().blocks_in_use, 0U);
    model_.check_cache_invariants();
  }

 private:
  void refuse(Sequence& text) {
    const auto vocab_size = static_cast<TokenId>(model_.info().vocab_size);
    const TokenId outside = random_.chance(0.5) ? -random_.integer(1, 5) : vocab_size;
    const auto call = [&](const TokenTree& tree) { return [&] { (void)text.evaluate(tree); }; };
    const std::vector<TokenId> too_many(model_.info().max_seq_len, 1);
    const std::vector<Extension> twice(2, {&text, std::span(too_many).first(1)});
    const TreeEvaluation tree = text.evaluate({{1, 2}, {-1, 0}});
    switch (random_.integer(0, 9)) {
      case 0:
        return expect_error(ErrorCode::empty_input, "no tokens", [&] { text.extend({}); });
      case 1:
        return expect_error(ErrorCode::token_out_of_range, "token 0 of the input", [&] {
          text.extend({&outside, 1});
        });
      case 2:
        return expect_error(ErrorCode::context_full, "do not fit", [&] { text.extend(too_many); });
      case 3:
        return expect_error(ErrorCode::invalid_argument, "",
                            [&] { text.rewind(text.length() + 1); });
      case 4:
        return expect_error(ErrorCode::invalid_argument, "has parent", call({{1, 2}, {-1, 1}}));
      case 5:
        return expect_error(ErrorCode::invalid_argument, "one each", call({{1, 2}, {-1}}));
      case 6:
        return expect_error(ErrorCode::token_out_of_range, "", call({{1, outside}, {-1, 0}}));
      case 7:
        return expect_error(ErrorCode::empty_input, "no tokens", call({}));
      case 8:
        return expect_error(ErrorCode::invalid_argument, "", [&] { (void)extend(twice); });
      default:
        return expect_error(ErrorCode::invalid_argument, "the tree has 2 nodes",
                            [&] { text.commit(tree, 2); });
    }
  }

  Random& random_;
  const Model& model_;
  History history_;
  PrefixCache prefixes_;
  std::optional<WindowedSequence> window_;
};

void step(std::uint8_t kind, Program& own, const Model& foreign) {
  switch (kind) {
    case 0:
      return own.mix_with(foreign);
    case 1:
      return own.reuse_prefix();
    case 2:
      return own.slide_window();
    case 3:
      return own.break_a_rule();
    default:
      return own.change_sequences();
  }
}

void stop_on_failure() {
  if (testing::Test::HasFailure()) {
    std::abort();  // gtest has printed what failed
  }
}

}  // namespace
}  // namespace kvcache

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvcache;
  static const Model first_model = load("plain", 4, 2);
  static const Model second_model = load("untied-head", 3, 1);
  constexpr std::size_t kStepBytes = 3;
  constexpr std::size_t kMostSteps = 64;
  Random random(0);
  Program first(random, first_model);
  Program second(random, second_model);
  std::span<const std::uint8_t> bytes(data, std::min(size, kMostSteps * kStepBytes));
  for (; bytes.size() >= kStepBytes; bytes = bytes.subspan(kStepBytes)) {
    random = Random(bytes[1] + 256U * bytes[2]);
    const std::uint8_t kind = bytes[0] / 2 % 8;
    if (bytes[0] % 2 == 0) {
      step(kind, first, second_model);
    } else {
      step(kind, second, first_model);
    }
    first.check();
    second.check();
    stop_on_failure();
  }
  first.end();
  second.end();
  stop_on_failure();
  return 0;
}
