// Outputs beside the logits: the same for a token however it came to be computed.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "kvcache/kvcache.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

constexpr const char* kName = "hidden_states";

class Outputs : public testing::Test {
 protected:
  Outputs() {
    const Logits all = model_.forward_without_cache(text_, LogitsFor::all);
    for (std::size_t row = 0; row < all.rows(); ++row) {
      const auto states = all.output(kName, row);
      expected_.emplace_back(states.begin(), states.end());
    }
  }

  static Model load(bool fuse_steps) {
    ModelOptions options;
    options.block_len = 4;
    options.poison_freed_blocks = true;
    options.fuse_steps = fuse_steps;
    return Model::load(test::hidden_states_model_path("plain"), options);
  }

  void expect_output(const Logits& found, std::size_t row, std::size_t token) const {
    test::expect_close(found.output(kName, row), expected_.at(token));
  }

  [[nodiscard]] std::span<const TokenId> text(std::size_t first, std::size_t count) const {
    return std::span(text_).subspan(first, count);
  }

  const Model model_ = load(true);
  const std::vector<TokenId> text_{5, 9, 2, 7, 7, 1, 8, 3, 4, 6, 2, 2};
  std::vector<std::vector<float>> expected_;
};

TEST_F(Outputs, AreSaidWithTheirSizes) {
  ASSERT_EQ(model_.info().outputs.size(), 1U);
  EXPECT_EQ(model_.info().outputs[0].name, kName);
  EXPECT_EQ(model_.info().outputs[0].size, model_.info().hidden_size);
  EXPECT_EQ(expected_.at(0).size(), model_.info().hidden_size);
}

TEST_F(Outputs, OfAPrefillAndOfEachStep) {
  Sequence sequence = model_.new_sequence();
  const Logits prefill = sequence.extend(text(0, 5), LogitsFor::all);
  for (std::size_t row = 0; row < 5; ++row) {
    expect_output(prefill, row, row);
  }
  for (std::size_t token = 5; token < text_.size(); ++token) {  // the later ones are captured
    expect_output(sequence.extend(text(token, 1)), 0, token);
  }
  expect_output(prefill, 4, 4);  // a result keeps its own
}

TEST_F(Outputs, OfACapturedStepAreThoseOfTheSessionToTheBit) {
  const Model node_by_node = load(false);
  Sequence captured = model_.new_sequence();
  Sequence plain = node_by_node.new_sequence();
  for (std::size_t token = 0; token < text_.size(); ++token) {
    const Logits one = captured.extend(text(token, 1));
    const Logits other = plain.extend(text(token, 1));
    if (model_.device_report().starts_with("cpu: ")) {
      EXPECT_TRUE(std::ranges::equal(one.output(kName, 0), other.output(kName, 0)));
    } else {
      test::expect_close(one.output(kName, 0), other.output(kName, 0));
    }
  }
}

TEST_F(Outputs, OfABatch) {
  Sequence one = model_.new_sequence();
  Sequence other = model_.new_sequence();
  one.extend(text(0, 3));
  const std::vector<Extension> batch{{&one, text(3, 2), LogitsFor::all},
                                     {&other, text(0, 4), LogitsFor::last}};
  const std::vector<Logits> found = extend(batch);
  expect_output(found[0], 0, 3);
  expect_output(found[0], 1, 4);
  expect_output(found[1], 0, 3);
}

TEST_F(Outputs, OfChosenNodesOfATree) {
  Sequence prefix = model_.new_sequence();
  prefix.extend(text(0, 6));
  const TokenTree tree{{text_[6], 11, text_[7], text_[8]}, {-1, -1, 0, 2}};
  const std::vector<std::size_t> nodes{3, 0};
  const TreeEvaluation found = prefix.evaluate(tree, nodes);
  expect_output(found.logits(), 0, 8);
  expect_output(found.logits(), 1, 6);
}

TEST_F(Outputs, ThatAreNotThereAreRefusedByName) {
  const Logits logits = model_.new_sequence().extend(text(0, 2));
  test::expect_error(ErrorCode::invalid_argument,
                     "the model has no output \"value\" beside its logits; it has hidden_states",
                     [&] { (void)logits.output("value", 0); });
  test::expect_error(ErrorCode::invalid_argument, "logits row 1 was asked for, there are 1",
                     [&] { (void)logits.output(kName, 1); });
  const Model without = Model::load(test::model_path("plain"));
  const Logits plain = without.forward_without_cache(text_);
  test::expect_error(ErrorCode::invalid_argument, "beside its logits; it has none",
                     [&] { (void)plain.output(kName, 0); });
}

/// What config.json says of them is checked against the graph.
class OutputsOfAChangedConfig : public testing::Test {
 protected:
  template <typename Change>
  void expect_load_error(ErrorCode code, const std::string& part, const Change& change) {
    const test::TemporaryDirectory directory;
    const auto model = directory.path() / "model";
    std::filesystem::copy(path_, model, std::filesystem::copy_options::recursive);
    nlohmann::json config = nlohmann::json::parse(test::read_file(model / "config.json"));
    change(config);
    test::write_file(model / "config.json", config.dump());
    test::expect_error(code, part, [&] { (void)Model::load(model); });
  }

  const std::filesystem::path path_ = test::hidden_states_model_path("plain");
};

TEST_F(OutputsOfAChangedConfig, IsRefused) {
  expect_load_error(ErrorCode::config_mismatch, "axis 2 of output hidden_states is 32, must be 33",
                    [](nlohmann::json& config) { config["outputs"][1]["shape"][1] = 33; });
  expect_load_error(ErrorCode::contract_violation, "is hidden_states, must be value",
                    [](nlohmann::json& config) { config["outputs"][1]["name"] = "value"; });
  expect_load_error(ErrorCode::contract_violation, "is hidden_states, must be present_key_0",
                    [](nlohmann::json& config) { config["outputs"].erase(1); });
}

}  // namespace
}  // namespace kvcache
