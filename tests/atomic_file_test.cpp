#include "atomic_file.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
 protected:
  [[nodiscard]] std::string content() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  [[nodiscard]] std::ptrdiff_t files() const {
    return std::distance(fs::directory_iterator(directory_.path()), {});
  }

  test::TemporaryDirectory directory_;
  fs::path path_ = directory_.path() / "file";
};

TEST_F(AtomicFileTest, AppearsOnCommit) {
  AtomicFile file(path_);
  file.stream() << "whole";
  EXPECT_FALSE(fs::exists(path_));
  file.commit();
  EXPECT_EQ(content(), "whole");
}

TEST_F(AtomicFileTest, ReplacesWhatWasThere) {
  std::ofstream(path_) << "old";
  AtomicFile file(path_);
  file.stream() << "new";
  EXPECT_EQ(content(), "old");
  file.commit();
  EXPECT_EQ(content(), "new");
}

TEST_F(AtomicFileTest, LeavesNothingWhenGivenUp) {
  { AtomicFile(path_).stream() << "half"; }
  EXPECT_EQ(files(), 0);
}

TEST_F(AtomicFileTest, LeavesNoTemporaryFileAfterCommit) {
  {
    AtomicFile file(path_);
    file.commit();
  }
  EXPECT_EQ(files(), 1);
}

TEST_F(AtomicFileTest, SaysAtOnceThatAPathCannotBeWritten) {
  EXPECT_THROW(AtomicFile(directory_.path() / "missing" / "file"), std::system_error);
  EXPECT_THROW(AtomicFile(directory_.path()), std::system_error);
}

TEST_F(AtomicFileTest, FailsWhenTheContentDidNotArrive) {
  AtomicFile file(path_);
  file.stream().setstate(std::ios::badbit);  // as after a write to a full disk
  EXPECT_THROW(file.commit(), std::system_error);
  EXPECT_FALSE(fs::exists(path_));
}

}  // namespace
}  // namespace kvcache
