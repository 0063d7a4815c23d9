// Saved states of sequences that have given blocks back: what is loaded goes on like what was
// saved, and a state that lacks what a token to come sees is not loaded.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/rounding.hpp"
#include "support/models.hpp"
#include "support/saved_states.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::expect_error;
using test::Random;
using test::random_tokens;

/// A model whose layers all have a window of 7 tokens.
Model load_windowed(std::optional<std::size_t> rewindable_tokens, std::size_t block_len = 4) {
  ModelOptions options;
  options.block_len = block_len;
  options.poison_freed_blocks = true;
  options.rewindable_tokens = rewindable_tokens;
  return Model::load(test::family_model_path("mistral-window"), options);
}

class StateWithoutBeginning : public testing::Test {
 protected:
  void SetUp() override {
    if (test::models_dtype() != "float32") {
      GTEST_SKIP() << "the families' models are compared in float32";
    }
  }

  [[nodiscard]] test::fs::path path() const { return directory_.path() / "state"; }

  test::TemporaryDirectory directory_;
};

TEST_F(StateWithoutBeginning, LacksWhatWasGivenBack) {
  const Model model = load_windowed(3);
  Random random(3);
  std::vector<TokenId> tokens = random_tokens(random, model.info(), 41);
  Sequence text = model.new_sequence();
  text.extend(tokens);
  ASSERT_EQ(text.first_cached(), 28U);
  text.save(path());
  const std::size_t payload = 41 * sizeof(TokenId) + 13 * model.info().cache_bytes_per_token();
  EXPECT_GT(test::fs::file_size(path()), payload);
  EXPECT_LT(test::fs::file_size(path()), payload + 1000);
  tokens.push_back(5);
  const std::span<const TokenId> next = std::span(tokens).last(1);
  const Logits expected = text.extend(next);
  for (const std::size_t block_len : {1U, 3U, 4U, 5U, 64U}) {
    for (const std::optional<std::size_t> rewindable : {std::optional<std::size_t>{}, {0}, {9}}) {
      SCOPED_TRACE(block_len);
      const Model loader = load_windowed(rewindable, block_len);
      Sequence loaded = loader.load_sequence(path());
      EXPECT_EQ(loaded.first_cached(), 28U);
      EXPECT_EQ(loader.cache_stats().blocks_in_use, divide_up(41, block_len) - 28 / block_len);
      EXPECT_TRUE(loaded.can_rewind_to(35));
      EXPECT_FALSE(loaded.can_rewind_to(34));
      loaded.save(path());  // and is what it was
      expect_close(loaded.extend(next).last(), expected.last());
      Sequence again = loader.load_sequence(path());
      expect_close(again.extend(next).last(), expected.last());
      loader.check_cache_invariants();
    }
  }
}

TEST_F(StateWithoutBeginning, IsRefusedWhereItsHeaderLies) {
  const Model model = load_windowed(0);
  Sequence text = model.new_sequence();
  text.extend(std::vector<TokenId>(20, TokenId{1}));
  ASSERT_EQ(text.first_cached(), 12U);
  text.save(path());
  const std::size_t blocks = model.cache_stats().blocks_in_use;
  const auto [header, rest] = test::parts_of(test::read_file(path()));
  const auto expect_refused = [&, &header = header, &rest = rest](const nlohmann::json& first,
                                                                  const std::string& part,
                                                                  char version = 2) {
    nlohmann::json changed = header;
    changed["first_cached"] = first;
    test::write_file(path(), test::state_of(changed.dump(), rest, version));
    expect_error(ErrorCode::state_invalid, part,
                 [&] { static_cast<void>(model.load_sequence(path())); });
    EXPECT_EQ(model.cache_stats().blocks_in_use, blocks);
  };
  const std::array<nlohmann::json, 6> no_numbers{0, -1, 1.5, "3", nullptr, ~std::uint64_t{0}};
  for (const nlohmann::json& value : no_numbers) {
    expect_refused(value, "must be a whole number of at least 1");
  }
  expect_refused(11, "bytes follow its header, 20 tokens take");
  expect_refused(13, "bytes follow its header, 20 tokens take");
  expect_refused(14,
                 "of 20 tokens it lacks the keys and values of the first 14, of which some are "
                 "among the last 7, which a token of the model sees");
  expect_refused(std::int64_t{1} << 62, "which a token of the model sees");
  expect_refused(12, "there is no field \"first_cached\"", 1);

  nlohmann::json whole = header;
  whole.erase("first_cached");
  test::write_file(path(), test::state_of(whole.dump(), rest, 2));
  expect_error(ErrorCode::state_invalid, "field \"first_cached\" is missing",
               [&] { static_cast<void>(model.load_sequence(path())); });
  test::write_file(path(), test::state_of(header.dump(), rest, 2));
  EXPECT_EQ(model.load_sequence(path()).length(), 20U);
}

TEST_F(StateWithoutBeginning, IsRefusedByAModelWhoseTokensSeeAll) {
  const Model model = Model::load(test::family_model_path("gemma3"));
  Sequence text = model.new_sequence();
  text.extend(std::vector<TokenId>(20, TokenId{1}));
  text.save(path());
  auto [header, rest] = test::parts_of(test::read_file(path()));
  header["first_cached"] = 8;
  test::write_file(path(), test::state_of(header.dump(), rest, 2));
  expect_error(ErrorCode::state_invalid,
               "it lacks the keys and values of its first 8 tokens, which all tokens of the model "
               "see",
               [&] { static_cast<void>(model.load_sequence(path())); });
}

}  // namespace
}  // namespace kvcache
