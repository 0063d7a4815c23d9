// Saved states: what is loaded equals what was saved, and nothing else is loaded.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

using test::expect_close;
using test::expect_error;
using test::Random;
using test::random_tokens;

std::string read_file(const test::fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const test::fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

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
  saved_.save(path());
  const std::string whole = read_file(path());
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{12}, std::size_t{17},
                                 std::size_t{40}, whole.size() / 2, whole.size() - 1}) {
    write_file(path(), whole.substr(0, size));
    expect_load_error(ErrorCode::state_invalid, "is not a saved state that can be loaded");
  }
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
}

TEST_F(SavedState, RefusesANewerVersion) {
  saved_.save(path());
  std::string newer = read_file(path());
  newer[8] = 2;
  write_file(path(), newer);
  expect_load_error(ErrorCode::state_mismatch,
                    "has format version 2, this library reads version 1");
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
