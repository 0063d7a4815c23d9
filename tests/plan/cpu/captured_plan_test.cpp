// Steps of few tokens that run without ONNX Runtime, against the same steps node by node.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/faults.hpp"
#include "support/models.hpp"
#include "support/random_cases.hpp"

namespace kvcache {
namespace {

using test::Random;

struct Loaded {
  std::vector<std::string> said;
  Model model;

  Loaded(const std::string& golden, bool fuse_steps, int num_threads)
      : model(Model::load(test::model_path(golden), options(fuse_steps, num_threads))) {}

  [[nodiscard]] std::size_t said_of_steps() const {
    return static_cast<std::size_t>(std::ranges::count_if(said, [](const std::string& message) {
      return message.find("goes on node by node") != std::string::npos;
    }));
  }

 private:
  ModelOptions options(bool fuse_steps, int num_threads) {
    ModelOptions options;
    options.fuse_steps = fuse_steps;
    options.num_threads = num_threads;
    options.block_len = 4;
    options.poison_freed_blocks = true;
    options.require_device = Device::cpu;
    options.log = [this](std::string_view message) { said.emplace_back(message); };
    return options;
  }
};

/// Whether all nodes are ours: other activation functions than this are nodes of ONNX Runtime's.
bool has_gelu(const std::string& golden) {
  std::ifstream config(test::goldens_directory() / golden / "config.json");
  const auto function =
      nlohmann::json::parse(config).value("activation_function", std::string("gelu_new"));
  return function == "gelu_new" || function == "gelu_pytorch_tanh";
}

class CapturedPlanOf : public testing::TestWithParam<std::string> {};

/// The same text, in pieces of one to six tokens, by forks and trees too: bit for bit.
TEST_P(CapturedPlanOf, GivesTheLogitsOfNodeByNode) {
  if (test::models_dtype() != "float32") {
    GTEST_SKIP() << "on the CPU, other types run node by node";
  }
  test::for_random_cases(4, [](Random& random) {
    const int threads = static_cast<int>(random.integer(1, 4));
    const Loaded recorded(GetParam(), true, threads);
    const Loaded plain(GetParam(), false, threads);
    Sequence fast = recorded.model.new_sequence();
    Sequence slow = plain.model.new_sequence();
    while (fast.fits(8)) {
      const auto tokens = test::random_tokens(random, recorded.model.info(),
                                              random.chance(0.7) ? 1 : random.integer(2, 6));
      const Logits found = fast.extend(tokens);
      const Logits expected = slow.extend(tokens);
      ASSERT_TRUE(std::ranges::equal(found.last(), expected.last())) << "at " << fast.length();
      const auto children = test::random_tokens(random, recorded.model.info(), 2);
      const TreeEvaluation tree = fast.evaluate({children, {-1, 0}});
      const TreeEvaluation same = slow.evaluate({children, {-1, 0}});
      for (std::size_t node = 0; node < children.size(); ++node) {
        ASSERT_TRUE(std::ranges::equal(tree.logits().row(node), same.logits().row(node)));
      }
      Sequence fork = fast.fork();
      Sequence same_fork = slow.fork();
      ASSERT_TRUE(std::ranges::equal(fork.extend({children.data(), 1}).last(),
                                     same_fork.extend({children.data(), 1}).last()));
    }
    EXPECT_EQ(plain.said_of_steps(), 0U) << "nobody asked for it";
    if (has_gelu(GetParam())) {
      const auto too_many = [](const std::string& said) {
        return said.find("too many tokens") != std::string::npos;
      };
      EXPECT_EQ(recorded.said_of_steps(),
                static_cast<std::size_t>(std::ranges::count_if(recorded.said, too_many)));
    } else {
      EXPECT_GT(recorded.said_of_steps(), 0U) << "it has nodes that have no kernel";
    }
  });
}

/// Whatever the step needs was made while it ran for the first times.
TEST_P(CapturedPlanOf, AllocatesNothing) {
  if (test::models_dtype() != "float32" || !has_gelu(GetParam())) {
    GTEST_SKIP() << "nothing is captured";
  }
  if (!test::kFaultsCanBeInjected) {
    GTEST_SKIP() << "the thread sanitiser takes the same functions";
  }
  ModelOptions options;
  options.num_threads = 1;  // of several, one may do its first task of a kind at any token
  options.require_device = Device::cpu;
  const Model model = Model::load(test::model_path(GetParam()), options);
  Sequence sequence = model.new_sequence();
  TokenId next = 1;
  for (int i = 0; i < 4; ++i) {
    next = sequence.extend({&next, 1}).argmax();
  }
  const test::Fault counted(test::Faulty::allocation, 0);
  for (int i = 0; i < 20; ++i) {  // within the first block of 32
    next = sequence.extend({&next, 1}).argmax();
  }
  EXPECT_EQ(test::Fault::calls(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Goldens, CapturedPlanOf, testing::ValuesIn(test::golden_names()),
                         [](const auto& golden) {
                           std::string name = golden.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace kvcache
