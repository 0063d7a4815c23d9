// Saved states: what is loaded equals what was saved, and nothing else is loaded.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/models.hpp"
#include "support/saved_states.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::expect_error;
using test::kBeforeHeader;
using test::parts_of;
using test::Random;
using test::random_tokens;
using test::read_file;
using test::state_of;
using test::with_checksum;
using test::write_file;

class SavedState : public testing::Test {
 protected:
  SavedState() { (void)saved_.extend(tokens_); }

  [[nodiscard]] test::fs::path path() const { return directory_.path() / "state"; }

  void expect_load_error(ErrorCode code, const std::string& part) const {
    const std::size_t blocks = model_.cache_stats().blocks_in_use;
    expect_error(code, part, [&] { (void)model_.load_sequence(path()); });
    EXPECT_EQ(model_.cache_stats().blocks_in_use, blocks);
  }

  test::TemporaryDirectory directory_;
  Random random_{1};
  Model model_ = Model::load(test::model_path(test::golden_names().front()));
  std::vector<TokenId> tokens_ = random_tokens(random_, model_.info(), 37);
  Sequence saved_ = model_.new_sequence();
};

TEST_F(SavedState, ExtendsLikeTheOneThatWasSaved) {
  for (const std::size_t block_len : {1U, 5U, 32U}) {
    saved_.save(path());
    ModelOptions options;
    options.block_len = block_len;  // of the loader; the file knows no blocks
    const Model loader = Model::load(test::model_path(test::golden_names().front()), options);
    Sequence loaded = loader.load_sequence(path());
    EXPECT_TRUE(std::ranges::equal(loaded.tokens(), tokens_));
    const TokenId next = 3;
    std::vector<TokenId> text = tokens_;
    text.push_back(next);
    expect_close(loaded.extend({&next, 1}).last(), model_.forward_without_cache(text).last());
  }
}

TEST_F(SavedState, HoldsTheUsedLengthOnly) {
  saved_.save(path());
  const std::size_t payload =
      tokens_.size() * (model_.info().cache_bytes_per_token() + sizeof(TokenId));
  EXPECT_GT(test::fs::file_size(path()), payload);
  EXPECT_LT(test::fs::file_size(path()), payload + 1000);
}

TEST_F(SavedState, OfAnEmptySequenceIsEmpty) {
  model_.new_sequence().save(path());
  EXPECT_EQ(model_.load_sequence(path()).length(), 0U);
}

TEST_F(SavedState, RefusesATruncatedFileOfAnyLength) {
  saved_.rewind(3);
  saved_.save(path());
  for (std::uintmax_t size = test::fs::file_size(path()); size-- > 0;) {
    SCOPED_TRACE(size);
    test::fs::resize_file(path(), size);
    expect_load_error(ErrorCode::state_invalid, "is not a saved state that can be loaded");
  }
}

TEST_F(SavedState, RefusesAFileWithAnyByteOfItsHeaderOrTokensAltered) {
  saved_.rewind(3);
  saved_.save(path());
  const std::string whole = read_file(path());
  const std::size_t header = parts_of(whole).first.dump().size();
  for (std::size_t at = 0; at < kBeforeHeader + header + 3 * sizeof(TokenId); ++at) {
    for (const int mask : {0x01, 0x20, 0x80, 0xFF}) {
      SCOPED_TRACE(at);
      std::string altered = whole;
      altered[at] = static_cast<char>(altered[at] ^ mask);
      write_file(path(), altered);
      const bool in_version = at >= 8 && at < 12;
      expect_load_error(in_version ? ErrorCode::state_mismatch : ErrorCode::state_invalid,
                        in_version ? "has format version"
                        : at < 8   ? "it does not begin as one"
                                   : "its checksum does not match");
    }
  }
}

TEST_F(SavedState, RefusesAHeaderThatLiesThoughItsChecksumMatches) {
  saved_.rewind(3);
  saved_.save(path());
  const auto [header, rest] = parts_of(read_file(path()));
  const auto expect_refused = [&, &rest = rest](const std::string& text, const std::string& part) {
    SCOPED_TRACE(text.substr(0, 100));
    write_file(path(), state_of(text, rest));
    expect_load_error(ErrorCode::state_invalid, "is not a saved state that can be loaded: ");
    expect_load_error(ErrorCode::state_invalid, part);
  };
  const auto with = [&header = header](const char* field, const nlohmann::json& value) {
    nlohmann::json changed = header;
    changed[field] = value;
    return changed.dump();
  };
  write_file(path(), state_of(header.dump(), rest));
  EXPECT_EQ(model_.load_sequence(path()).length(), 3U);

  expect_refused("", "its header is not JSON");
  expect_refused("[]", "its header is an array of 0 elements, must be an object");
  expect_refused("{}", "field \"model_digest\" is missing");
  expect_refused(std::string(60'000, '['), "nested more than");
  expect_refused(std::string(70'000, ' '), "its header has 70000 bytes, must have at most 65536");
  expect_refused(with("more", 1), "there is no field \"more\"");
  expect_refused(with("model_digest", 7), "field \"model_digest\" is 7, must be a text");
  for (const char* field : {"num_layers", "num_heads", "head_dim", "element_bytes", "tokens"}) {
    for (const nlohmann::json& value :
         {nlohmann::json(-1), nlohmann::json(1.5), nlohmann::json("3"), nlohmann::json(nullptr),
          nlohmann::json(1e30), nlohmann::json(~std::uint64_t{0})}) {
      expect_refused(with(field, value), "must be a whole number of at least");
    }
  }
  const std::string positions = std::to_string(model_.info().max_seq_len);
  expect_refused(with("tokens", std::int64_t{1} << 61),
                 "it holds 2305843009213693952 tokens, the model has " + positions + " positions");
  expect_refused(with("tokens", 2), "bytes follow its header, 2 tokens take");
  expect_refused(with("tokens", 4), "bytes follow its header, 4 tokens take");
}

TEST_F(SavedState, RefusesMoreTokensThanTheModelHasPositions) {
  saved_.save(path());
  const auto [header, rest] = parts_of(read_file(path()));
  const std::size_t count = model_.info().max_seq_len + 1;
  nlohmann::json longer = header;
  longer["tokens"] = count;
  write_file(path(), state_of(longer.dump(), std::string(rest.size() / tokens_.size() * count, 0)));
  expect_load_error(ErrorCode::state_invalid, "it holds " + std::to_string(count) +
                                                  " tokens, the model has " +
                                                  std::to_string(count - 1) + " positions");
}

TEST_F(SavedState, RefusesTokensOutsideTheVocabulary) {
  saved_.save(path());
  const auto [header, rest] = parts_of(read_file(path()));
  const auto vocab_size = static_cast<TokenId>(model_.info().vocab_size);
  for (const TokenId token : {TokenId{-5}, vocab_size, TokenId{1} << 40}) {
    std::string changed = rest;
    std::memcpy(changed.data() + 2 * sizeof(TokenId), &token, sizeof(token));
    write_file(path(), state_of(header.dump(), changed));
    expect_load_error(ErrorCode::state_invalid,
                      "its token 2 is " + std::to_string(token) + ", must be in [0, ");
  }
}

TEST_F(SavedState, RefusesWhatFollowsTheChecksum) {
  saved_.save(path());
  write_file(path(), with_checksum(read_file(path())));
  expect_load_error(ErrorCode::state_invalid, "bytes follow its header");
}

TEST_F(SavedState, RefusesAnAlteredFile) {
  saved_.save(path());
  const std::string whole = read_file(path());
  test::for_random_cases(20, [&](Random& random) {
    std::string altered = whole;
    const auto at =
        static_cast<std::size_t>(random.integer(12, static_cast<std::int64_t>(whole.size()) - 1));
    altered[at] = static_cast<char>(altered[at] ^ (1 << random.integer(0, 7)));
    write_file(path(), altered);
    expect_load_error(ErrorCode::state_invalid, "its checksum does not match");
  });
}

TEST_F(SavedState, RefusesWhatIsNoState) {
  write_file(path(), "hello, this is some other file altogether");
  expect_load_error(ErrorCode::state_invalid, "it does not begin as one");
  test::fs::remove(path());
  expect_load_error(ErrorCode::state_invalid, "No such file or directory");
  test::fs::create_directory(path());
  expect_load_error(ErrorCode::state_invalid, "Is a directory");
  test::fs::remove(path());
  test::fs::create_symlink("/dev/zero", path());
  expect_load_error(ErrorCode::state_invalid, "it is no regular file");
}

TEST_F(SavedState, RefusesANewerVersion) {
  saved_.save(path());
  std::string newer = read_file(path());
  newer[8] = 4;
  write_file(path(), newer);
  expect_load_error(ErrorCode::state_mismatch,
                    "has format version 4, this library reads versions 1 to 3");
}

TEST_F(SavedState, RefusesTheStateOfAnotherModel) {
  const Model other = Model::load(test::model_path(test::golden_names().back()));
  Sequence sequence = other.new_sequence();
  (void)sequence.extend(std::vector<TokenId>{1, 2, 3});
  sequence.save(path());
  expect_load_error(ErrorCode::state_mismatch, "is the state of another model");
}

TEST_F(SavedState, RefusesTheStateOfAModelWithAnotherCacheDtype) {
  if (test::models_dtype() != "float32") {
    GTEST_SKIP() << "only float32 models have a cache of another type";
  }
  saved_.save(path());
  const Model narrow = Model::load(test::int8_cache_model_path(test::golden_names().front()));
  const std::string load_with = "; load it with the model that saved it, or with one of the same ";
  expect_error(ErrorCode::state_mismatch,
               "is the state of a model whose keys and values take 4 bytes an element, this "
               "model's take 1" +
                   load_with + "--cache-dtype",
               [&] { (void)narrow.load_sequence(path()); });
  EXPECT_EQ(narrow.cache_stats().blocks_in_use, 0U);

  Sequence sequence = narrow.new_sequence();
  (void)sequence.extend(tokens_);
  sequence.save(path());
  expect_load_error(ErrorCode::state_mismatch,
                    "keys and values take 1 bytes an element, this model's take 4");
}

TEST_F(SavedState, LeavesNothingWhereItCannotBeWritten) {
  expect_error(ErrorCode::state_not_saved, "the state of 37 tokens was not saved",
               [&] { saved_.save(directory_.path() / "missing" / "state"); });
  EXPECT_TRUE(test::fs::is_empty(directory_.path()));
}

}  // namespace
}  // namespace kvcache
