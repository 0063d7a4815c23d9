#include "ops/weight_file.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>

#include "kvcache/error.hpp"
#include "ops/memory_map.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::ops {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

class WeightFileOf : public testing::TestWithParam<WeightMemory> {
 protected:
  /// A file of so many bytes, no two neighbouring pages alike.
  std::filesystem::path write(std::size_t size) {
    contents_.resize(size);
    for (std::size_t i = 0; i < size; ++i) {
      contents_[i] = static_cast<char>((i >> 12U) + i * 31);
    }
    std::filesystem::path path = directory_.path() / "weights";
    std::ofstream(path, std::ios::binary) << contents_;
    return path;
  }

  std::string contents_;
  test::TemporaryDirectory directory_;
};

TEST_P(WeightFileOf, HoldsTheBytesOnHugePageBoundaries) {
  // Several parts for each of several readers, and no multiple of anything; less than a page.
  for (const std::size_t size : {std::size_t{9'999'999}, std::size_t{5}}) {
    const std::filesystem::path path = write(size);
    WeightFile first(path, GetParam(), 3);
    const WeightFile file = std::move(first);
    file.wait();
    ASSERT_EQ(file.bytes().size(), size);
    EXPECT_EQ(std::memcmp(file.bytes().data(), contents_.data(), size), 0);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.bytes().data()) % kHugePage, 0U);
    EXPECT_EQ(file_at(file.bytes().data()).has_value(), GetParam() == WeightMemory::mapped);
  }
}

TEST_P(WeightFileOf, HasTheBytesThatWereWaitedFor) {
  const WeightFile file(write(30'000'000), GetParam(), 2);
  for (const std::size_t end :
       {std::size_t{0}, std::size_t{1}, std::size_t{8'400'000}, std::size_t{30'000'000}}) {
    file.wait(end);
    EXPECT_EQ(std::memcmp(file.bytes().data(), contents_.data(), end), 0);
  }
}

TEST_P(WeightFileOf, HoldsNothingOfAnEmptyFile) {
  const WeightFile file(write(0), GetParam(), 1);
  file.wait();
  EXPECT_TRUE(file.bytes().empty());
}

TEST_P(WeightFileOf, SaysWhatItCannotRead) {
  test::expect_error(ErrorCode::model_not_found, "/no/such/file: No such file",
                     [] { const WeightFile file("/no/such/file", GetParam(), 1); });
  test::expect_error(ErrorCode::model_not_found, "Is a directory",
                     [this] { const WeightFile file(directory_.path(), GetParam(), 1); });
}

std::string name_of(const testing::TestParamInfo<WeightMemory>& info) {
  return info.param == WeightMemory::mapped ? "mapped" : "huge_pages";
}

INSTANTIATE_TEST_SUITE_P(Weights, WeightFileOf,
                         testing::Values(WeightMemory::mapped, WeightMemory::huge_pages), name_of);

}  // namespace
}  // namespace kvcache::ops
