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
#include "support/saved_states.hpp"
#include "support/temporary_directory.hpp"
#include "support/window_models.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::expect_error;
using test::Random;
using test::random_tokens;

/// A model whose layers all have a window of 7 tokens.
Model load_windowed(std::optional<std::size_t> rewindable_tokens, std::size_t block_len = 4) {
  return test::load_with_window(test::kWindowed, rewindable_tokens, block_len);
}

class StateWithoutBeginning : public test::InFloat32 {
 protected:
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

TEST_F(StateWithoutBeginning, SaysWhereEachGroupOfLayersBegins) {
  for (const std::string name : test::kSomeWindowed) {
    SCOPED_TRACE(name);
    const Model model = test::load_with_window(name, 3);
    Random random(6);
    std::vector<TokenId> tokens = random_tokens(random, model.info(), 41);
    Sequence text = model.new_sequence();
    text.extend(tokens);
    ASSERT_EQ(text.first_cached(), 32U);
    text.save(path());
    const auto [header, rest] = test::parts_of(test::read_file(path()));
    EXPECT_EQ(header.at("first_cached"), nlohmann::json({0, 32}));
    std::size_t payload = 41 * sizeof(TokenId);
    for (const LayerGroupStats& group : model.cache_stats().groups) {
      payload += (group.window == 0 ? 41U : 9U) * group.block_bytes / 4;
    }
    EXPECT_EQ(rest.size(), payload);
    tokens.push_back(5);
    const std::span<const TokenId> next = std::span(tokens).last(1);
    const Logits expected = text.extend(next);
    for (const std::size_t block_len : {1U, 3U, 4U, 5U, 64U}) {
      SCOPED_TRACE(block_len);
      const Model loader = test::load_with_window(name, 3, block_len);
      Sequence loaded = loader.load_sequence(path());
      EXPECT_EQ(loaded.first_cached(), 32U);
      const std::vector<LayerGroupStats> groups = loader.cache_stats().groups;
      EXPECT_EQ(groups[0].blocks_in_use, divide_up(41, block_len));
      EXPECT_EQ(groups[1].blocks_in_use, divide_up(41, block_len) - 32 / block_len);
      EXPECT_TRUE(loaded.can_rewind_to(32 + groups[1].window));
      EXPECT_FALSE(loaded.can_rewind_to(31 + groups[1].window));
      const std::string saved = test::read_file(path());
      loaded.save(path());
      EXPECT_EQ(test::read_file(path()), saved);
      expect_close(loaded.extend(next).last(), expected.last());
      loader.check_cache_invariants();
    }
    const Model keeps = test::load_with_window(name, {});
    expect_error(ErrorCode::state_mismatch, "load the model with rewindable_tokens",
                 [&] { static_cast<void>(keeps.load_sequence(path())); });
    EXPECT_EQ(keeps.cache_stats().blocks_in_use, 0U);
  }
}

TEST_F(StateWithoutBeginning, IsRefusedWhereItsGroupsLie) {
  const Model model = test::load_with_window("gemma3", 0);  // windows: none, 5
  Sequence text = model.new_sequence();
  text.extend(std::vector<TokenId>(20, TokenId{1}));
  text.save(path());
  const auto [header, rest] = test::parts_of(test::read_file(path()));
  ASSERT_EQ(header.at("first_cached"), nlohmann::json({0, 12}));
  const std::size_t bytes = model.cache_stats().bytes_in_use();
  const auto expect_refused = [&, &header = header, &rest = rest](const nlohmann::json& first,
                                                                  const std::string& part) {
    nlohmann::json changed = header;
    changed["first_cached"] = first;
    test::write_file(path(), test::state_of(changed.dump(), rest, 3));
    expect_error(ErrorCode::state_invalid, part,
                 [&] { static_cast<void>(model.load_sequence(path())); });
    EXPECT_EQ(model.cache_stats().bytes_in_use(), bytes);
    model.check_cache_invariants();
  };
  expect_refused({0}, "must have 2 entries, one for each window of the layers");
  expect_refused({0, 12, 12}, "must have 2 entries");
  expect_refused(12, "first_cached");
  expect_refused({0, -1}, "must be a whole number of at least 0");
  expect_refused({0, "12"}, "first_cached[1]");
  expect_refused({0, 11}, "bytes follow its header, 20 tokens take");
  expect_refused({0, 0}, "bytes follow its header, 20 tokens take");
  expect_refused({0, 16}, "of which some are among the last 5, which a token of the model sees");
  expect_refused({1, 12}, "lacks the keys and values of its first 1 tokens, which all tokens");
  test::write_file(path(), test::state_of(header.dump(), rest, 3));
  EXPECT_EQ(model.load_sequence(path()).first_cached(), 12U);
}

TEST_F(StateWithoutBeginning, IsWholeWhereNothingWasGivenBackYet) {
  for (const std::string name : test::kSomeWindowed) {
    const Model gives = test::load_with_window(name, 3);
    const Model keeps = test::load_with_window(name, {}, 5);
    Random random(7);
    std::vector<TokenId> tokens = random_tokens(random, gives.info(), 40);
    for (const Model* saver : {&gives, &keeps}) {
      Sequence text = saver->new_sequence();
      text.extend(std::span(tokens).first(saver == &gives ? 8 : 30));
      text.save(path());
      EXPECT_EQ(test::read_file(path())[8], 1);
      for (const Model* loader : {&gives, &keeps}) {
        Sequence loaded = loader->load_sequence(path());
        EXPECT_EQ(loaded.first_cached(), 0U);
        loaded.extend(std::span(tokens).subspan(loaded.length()));
        EXPECT_EQ(loaded.first_cached() > 0, loader == &gives);
      }
    }
  }
}

}  // namespace
}  // namespace kvcache
