#include "base/system_lines.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <new>
#include <vector>

#include "support/faults.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  SystemLines file(path);
  std::vector<std::string> lines;
  for (std::string line; file.next(line);) {
    lines.push_back(line);
  }
  return lines;
}

TEST(SystemLines, AreReadToTheEnd) {
  const test::TemporaryDirectory directory;
  test::write_file(directory.path() / "some", "one\n\nthree");
  EXPECT_EQ(lines_of(directory.path() / "some"), (std::vector<std::string>{"one", "", "three"}));
  EXPECT_EQ(SystemLines::first_of(directory.path() / "some"), "one");
}

TEST(SystemLines, OfAFileThatCannotBeReadAreNone) {
  const test::TemporaryDirectory directory;
  EXPECT_TRUE(lines_of(directory.path() / "missing").empty());
  EXPECT_TRUE(lines_of(directory.path()).empty());
  EXPECT_EQ(SystemLines::first_of(directory.path() / "missing"), "");
}

/// A stream by itself says that the file ends there.
TEST(SystemLines, ThatThereIsNoMemoryForAreAnError) {
  if (!test::kFaultsCanBeInjected) {
    GTEST_SKIP() << "the thread sanitiser takes the same functions";
  }
  const test::TemporaryDirectory directory;
  const std::string text(100, 'a');
  test::write_file(directory.path() / "long", text + "\n" + text + text + "\n");
  bool reached = true;
  std::uint64_t failed = 0;
  for (std::uint64_t n = 1; reached; ++n) {
    std::vector<std::string> lines;
    const test::Fault fault(test::Faulty::allocation, n);
    try {
      lines = lines_of(directory.path() / "long");
      EXPECT_EQ(lines.size(), 2U) << n;
    } catch (const std::bad_alloc&) {
      ++failed;
    }
    reached = test::Fault::calls() >= n;
  }
  EXPECT_GE(failed, 3U);
}

}  // namespace
}  // namespace kvcache
