// Random calls on two models at once. Every three bytes are one step: which model, and
// the seed of the step, so that what libFuzzer cuts, repeats and moves are calls.
//
// Invariants are those of the random histories (tests/support/history.hpp): tokens, logits as a
// forward that knows no cache gives them, every block in one place. Calls that mix the models must
// be refused with a code and change nothing.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "support/history.hpp"

namespace kvcache {
namespace {

using test::History;
using test::Random;

Model load(const char* golden, std::size_t block_len) {
  ModelOptions options;
  options.block_len = block_len;
  options.num_threads = 2;
  options.poison_freed_blocks = true;
  options.require_device = Device::cpu;
  return Model::load(test::model_path(golden), options);
}

struct Models {
  Model first = load("plain", 4);
  Model second = load("untied-head", 3);
};

void stop_on_failure() {
  if (testing::Test::HasFailure()) {
    std::abort();  // gtest has printed what failed
  }
}

/// A state of one model loaded into another, a batch over both, a tree of one committed to the
/// other.
void mix(Random& random, const Model& own, const Model& foreign) {
  const test::TemporaryDirectory directory;
  const auto path = directory.path() / "text.state";
  Sequence text = own.new_sequence();
  Sequence other = foreign.new_sequence();
  const auto tokens = test::random_tokens(random, own.info(), random.integer(1, 9));
  text.extend(tokens);
  text.save(path);
  test::expect_error(ErrorCode::state_mismatch, "another model",
                     [&] { (void)foreign.load_sequence(path); });
  const std::vector<Extension> batch{{&text, tokens}, {&other, tokens}};
  test::expect_error(ErrorCode::invalid_argument, "of another model", [&] { extend(batch); });
  const TreeEvaluation tree = text.evaluate({{1, 2}, {-1, 0}});
  test::expect_error(ErrorCode::invalid_argument, "cannot commit", [&] { other.commit(tree, 1); });
  EXPECT_EQ(text.length(), tokens.size());
  EXPECT_EQ(other.length(), 0U);
}

}  // namespace
}  // namespace kvcache

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvcache;
  static const Models models;
  constexpr std::size_t kStepBytes = 3;
  constexpr std::size_t kMostSteps = 64;
  Random random(0);
  History first(random, models.first, true);
  History second(random, models.second, true);
  std::span<const std::uint8_t> bytes(data, std::min(size, kMostSteps * kStepBytes));
  for (; bytes.size() >= kStepBytes; bytes = bytes.subspan(kStepBytes)) {
    random = Random(bytes[1] + 256U * bytes[2]);
    switch (bytes[0] % 16) {
      case 0:
        mix(random, models.first, models.second);
        break;
      case 1:
        mix(random, models.second, models.first);
        break;
      default:
        (bytes[0] % 2 == 0 ? first : second).step();
    }
    first.check();
    second.check();
    stop_on_failure();
  }
  first.clear();
  second.clear();
  EXPECT_EQ(models.first.cache_stats().blocks_in_use, 0U);
  EXPECT_EQ(models.second.cache_stats().blocks_in_use, 0U);
  stop_on_failure();
  return 0;
}
