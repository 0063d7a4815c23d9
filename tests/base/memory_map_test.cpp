#include "base/memory_map.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "support/mapped_file.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

TEST(FileAt, TellsTheFileAndThePlaceInIt) {
  const test::TemporaryDirectory directory;
  for (const char* name : {"one", "other"}) {
    std::ofstream(directory.path() / name) << std::string(20'000, 'x');
  }
  const test::MappedFile one(directory.path() / "one");
  const test::MappedFile again(directory.path() / "one");
  const test::MappedFile other(directory.path() / "other");
  const auto place = file_at(one.bytes().data() + 12'345);
  ASSERT_TRUE(place);
  EXPECT_EQ(place->offset, 12'345U);
  EXPECT_EQ(file_at(again.bytes().data())->file, place->file);
  EXPECT_NE(file_at(other.bytes().data())->file, place->file);
}

TEST(FileAt, TellsNothingOfMemoryThatIsNoFile) {
  const std::vector<int> memory(1'000'000);
  EXPECT_FALSE(file_at(memory.data()));
  EXPECT_FALSE(file_at(nullptr));
}

}  // namespace
}  // namespace kvcache
