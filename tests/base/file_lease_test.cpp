#include "base/file_lease.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <future>
#include <string>

#include "support/temporary_directory.hpp"
#include "weights/weight_pages.hpp"

namespace kvcache {
namespace {

class FileLeaseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(path_) << "weights";
    const weights::OpenFile file(path_);
    if (!FileLease(file.descriptor(), [] {}).held()) {
      GTEST_SKIP() << "this file system gives no leases";
    }
  }

  /// Opens the file for writing and cuts it off, which may have to wait.
  std::future<void> truncate() {
    return std::async(std::launch::async, [this] { std::ofstream(path_, std::ios::trunc); });
  }

  test::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_.path() / "file";
};

TEST_F(FileLeaseTest, OthersWaitUntilItIsGivenBack) {
  const weights::OpenFile file(path_);
  std::promise<void> asked;
  std::atomic<int> times = 0;
  FileLease lease(file.descriptor(), [&] {
    if (++times == 1) {
      asked.set_value();
    }
  });
  std::future<void> truncated = truncate();
  asked.get_future().wait();
  EXPECT_EQ(truncated.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(std::filesystem::file_size(path_), 7U);
  lease.give_back();
  EXPECT_FALSE(lease.held());
  truncated.wait();
  EXPECT_EQ(std::filesystem::file_size(path_), 0U);
  EXPECT_EQ(times, 1);
}

TEST_F(FileLeaseTest, MayBeGivenBackByWhoIsAsked) {
  const weights::OpenFile file(path_);
  std::promise<FileLease*> made;
  FileLease lease(file.descriptor(), [&, future = std::make_shared<std::future<FileLease*>>(
                                             made.get_future())] { future->get()->give_back(); });
  made.set_value(&lease);
  truncate().wait();
  EXPECT_EQ(std::filesystem::file_size(path_), 0U);
}

TEST_F(FileLeaseTest, GoesWithItsOwnerAndIsNotForTwoKinds) {
  const weights::OpenFile file(path_);
  const weights::OpenFile again(path_);
  {
    const FileLease lease(file.descriptor(), [] {});
    const FileLease second(again.descriptor(), [] {});
    EXPECT_TRUE(lease.held());
    EXPECT_TRUE(second.held()) << "readers share";
  }
  truncate().wait();
  const std::ofstream writer(path_);
  EXPECT_FALSE(FileLease(file.descriptor(), [] {}).held()) << "somebody writes";
}

TEST_F(FileLeaseTest, ReplacingTheFileDoesNotWait) {
  const weights::OpenFile file(path_);
  std::atomic<bool> asked = false;
  const FileLease lease(file.descriptor(), [&] { asked = true; });
  std::ofstream(directory_.path() / "new") << "new";
  std::filesystem::rename(directory_.path() / "new", path_);
  EXPECT_TRUE(lease.held());
  EXPECT_FALSE(asked);
}

}  // namespace
}  // namespace kvcache
