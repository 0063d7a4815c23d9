#include "ops/weight_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "device/mapped_file.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::ops {
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

TEST(WeightStore, ReadsWeightsOfAFileWhereTheFileLies) {
  const test::TemporaryDirectory directory;
  for (const char* name : {"weights", "others"}) {
    std::ofstream(directory.path() / name) << std::string(100'000, 'w');
  }
  // As ONNX Runtime maps them, at addresses of its own.
  const device::MappedFile weights(directory.path() / "weights");
  const device::MappedFile others(directory.path() / "others");
  for (const bool huge_pages : {false, true}) {
    WeightFile file(directory.path() / "weights");
    if (huge_pages) {
      file.move_to_huge_pages(1);
      ASSERT_TRUE(file.wait_for_huge_pages());
    }
    WeightStore store;
    store.read_from(file);
    EXPECT_EQ(store.keep(weights.bytes().data() + 8'192, 1'000), file.bytes().data() + 8'192);
    EXPECT_EQ(store.keep(weights.bytes().data(), 100'000), file.bytes().data());

    const std::vector<char> no_file(100'000, 'w');
    for (const void* elsewhere : {static_cast<const void*>(others.bytes().data()),
                                  static_cast<const void*>(no_file.data())}) {
      const auto* copy = static_cast<const std::byte*>(store.keep(elsewhere, 1'000));
      EXPECT_NE(copy, elsewhere);
      EXPECT_EQ(std::memcmp(copy, elsewhere, 1'000), 0);
      EXPECT_TRUE(copy < file.bytes().data() || copy >= file.bytes().data() + 100'000);
    }
  }
}

}  // namespace
}  // namespace kvcache::ops
