#include "weights/weight_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "support/mapped_file.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::weights {
namespace {

TEST(WeightStore, KeepsACopyOfEachWeightOnce) {
  std::vector<float> first(3'000'000);  // several parts, no multiple of one
  std::iota(first.begin(), first.end(), 0.0F);
  const std::vector<float> second(5, 2.0F);
  WeightStore store;
  const auto keep = [&](const std::vector<float>& weights) {
    return static_cast<const float*>(store.keep(weights.data(), weights.size() * sizeof(float)));
  };
  const float* kept = keep(first);
  const float* other = keep(second);
  EXPECT_NE(kept, first.data());
  EXPECT_EQ(keep(first), kept);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), kept));
  EXPECT_TRUE(std::equal(second.begin(), second.end(), other));
}

class WeightStoreOfAFile : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"weights", "others"}) {
      std::ofstream(directory_.path() / name) << std::string(100'000, 'w');
    }
  }

  test::TemporaryDirectory directory_;
};

TEST_F(WeightStoreOfAFile, ReadsWeightsWhereTheFileLies) {
  // As ONNX Runtime maps them, at addresses of its own.
  const test::MappedFile weights(directory_.path() / "weights");
  for (const WeightSource source : {WeightSource::held, WeightSource::read}) {
    for (const bool moved : {false, true}) {
      WeightFile file(directory_.path() / "weights", source, 1);
      file.settle({});
      if (moved) {
        file.move();
        ASSERT_TRUE(file.wait_for_move());
      }
      WeightStore store;
      store.read_from(file);
      EXPECT_EQ(store.keep(weights.bytes().data() + 8'192, 1'000), file.bytes().data() + 8'192);
      EXPECT_EQ(store.keep(weights.bytes().data(), 100'000), file.bytes().data());

      const std::vector<char> no_file(100'000, 'w');
      const auto* copy = static_cast<const std::byte*>(store.keep(no_file.data(), 1'000));
      EXPECT_EQ(std::memcmp(copy, no_file.data(), 1'000), 0);
      EXPECT_TRUE(copy < file.bytes().data() || copy >= file.bytes().data() + 100'000);
    }
  }
}

TEST_F(WeightStoreOfAFile, TellsWhatIsReadInPlace) {
  const test::MappedFile weights(directory_.path() / "weights");
  const std::byte* begin = weights.bytes().data();
  const WeightFile file(directory_.path() / "weights", WeightSource::held, 1);
  const WeightFile other(directory_.path() / "others", WeightSource::held, 1);
  WeightStore store;
  store.read_from(file);
  store.read_from(other);
  store.read_in_place(begin + 9'000, 100);
  store.read_in_place(begin + 9'000, 100);  // by another node
  store.read_in_place(begin, 0);
  const std::vector<float> no_file(100);
  store.read_in_place(no_file.data(), 400);
  const auto places = store.places_read(file);
  ASSERT_EQ(places.size(), 1U);
  EXPECT_EQ(places[0].place.data(), begin + 8'192) << "where its page begins";
  EXPECT_EQ(places[0].place.size(), 4'096U) << "the whole page";
  EXPECT_EQ(places[0].source, file.bytes().data() + 8'192);
  EXPECT_TRUE(store.places_read(other).empty());
}

TEST_F(WeightStoreOfAFile, RefusesWeightsOfAFileThatTookItsPlace) {
  const WeightFile file(directory_.path() / "weights", WeightSource::held, 1);
  std::filesystem::rename(directory_.path() / "others", directory_.path() / "weights");
  const test::MappedFile weights(directory_.path() / "weights");
  WeightStore store;
  store.read_from(file);
  test::expect_error(ErrorCode::digest_mismatch, "was replaced while the model was loaded",
                     [&] { store.keep(weights.bytes().data(), 1'000); });
}

}  // namespace
}  // namespace kvcache::weights
