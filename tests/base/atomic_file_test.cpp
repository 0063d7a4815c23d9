#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

namespace fs = std::filesystem;

std::string content_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_to(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

/// Expects an error whose code and message say why.
template <typename Call>
void expect_errno(std::errc code, const fs::path& path, const Call& call) {
  try {
    call();
    ADD_FAILURE() << "no error, expected " << std::make_error_code(code).message();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(std::string(error.what()),
              "cannot write " + path.string() + ": " + std::make_error_code(code).message());
  }
}

/// As long as it lives, files of this process end at so many bytes.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = std::signal(SIGXFSZ, SIG_IGN);
};

class AtomicFileTest : public testing::Test {
 protected:
  [[nodiscard]] std::string content() const { return content_of(path_); }
  [[nodiscard]] std::ptrdiff_t files() const {
    return std::distance(fs::directory_iterator(directory_.path()), {});
  }

  /// A device of the test's own at path_: as root, a fault would replace that of the machine.
  void make_device(unsigned minor) const {
    if (::mknod(path_.c_str(), S_IFCHR | 0600, makedev(kMemoryDevices, minor)) != 0) {
      GTEST_SKIP() << "only root makes devices";
    }
  }
  static constexpr unsigned kMemoryDevices = 1;
  static constexpr unsigned kNull = 3;
  static constexpr unsigned kFull = 7;

  test::TemporaryDirectory directory_;
  fs::path path_ = directory_.path() / "file";
};

TEST_F(AtomicFileTest, AppearsOnCommit) {
  AtomicFile file(path_);
  file.write("whole");
  EXPECT_FALSE(fs::exists(path_));
  file.commit();
  EXPECT_EQ(content(), "whole");
}

TEST_F(AtomicFileTest, HoldsMoreThanItsBuffer) {
  const std::string text(3'000'001, 'x');
  AtomicFile file(path_);
  file.write("begin");
  file.write(text);
  file.write("end");
  file.commit();
  EXPECT_EQ(content(), "begin" + text + "end");
}

TEST_F(AtomicFileTest, ReplacesWhatWasThere) {
  std::ofstream(path_) << "old";
  AtomicFile file(path_);
  file.write("new");
  EXPECT_EQ(content(), "old");
  file.commit();
  EXPECT_EQ(content(), "new");
}

TEST_F(AtomicFileTest, KeepsTheModeOfWhatItReplaces) {
  std::ofstream(path_) << "old";
  fs::permissions(path_, fs::perms(0640));
  write_to(path_, "new");
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms(0640));
  const mode_t mask = ::umask(027);
  write_to(directory_.path() / "other", "new");
  ::umask(mask);
  EXPECT_EQ(fs::status(directory_.path() / "other").permissions(), fs::perms(0640));
}

TEST_F(AtomicFileTest, LeavesNothingWhenGivenUp) {
  { AtomicFile(path_).write("half"); }
  EXPECT_EQ(files(), 0);
}

TEST_F(AtomicFileTest, LeavesNoTemporaryFileAfterCommit) {
  write_to(path_, "once");
  write_to(path_, "twice");
  EXPECT_EQ(files(), 1);
}

TEST_F(AtomicFileTest, SaysAtOnceWhyAPathCannotBeWritten) {
  const auto expect = [](std::errc code, const fs::path& path) {
    expect_errno(code, path, [&] { const AtomicFile file(path); });
  };
  std::ofstream(path_) << "old";
  fs::create_symlink("loop", directory_.path() / "loop");
  expect(std::errc::no_such_file_or_directory, directory_.path() / "missing" / "file");
  expect(std::errc::no_such_file_or_directory, "");
  expect(std::errc::is_a_directory, directory_.path());
  expect(std::errc::not_a_directory, path_ / "file");
  expect(std::errc::too_many_symbolic_link_levels, directory_.path() / "loop");
  expect(std::errc::filename_too_long, directory_.path() / std::string(256, 'x'));
  EXPECT_EQ(files(), 2);
}

TEST_F(AtomicFileTest, TakesTheLongestNameThatAFileCanHave) {
  write_to(directory_.path() / std::string(255, 'x'), "text");
  EXPECT_EQ(content_of(directory_.path() / std::string(255, 'x')), "text");
}

TEST_F(AtomicFileTest, FollowsSymbolicLinks) {
  fs::create_directory(directory_.path() / "sub");
  fs::create_symlink("sub/link", path_);
  fs::create_symlink(directory_.path() / "target", directory_.path() / "sub" / "link");
  for (const char* text : {"made", "replaced"}) {
    write_to(path_, text);
    EXPECT_TRUE(fs::is_symlink(path_));
    EXPECT_TRUE(fs::is_symlink(directory_.path() / "sub" / "link"));
    EXPECT_EQ(content_of(directory_.path() / "target"), text);
  }
  EXPECT_EQ(files(), 3);
}

TEST_F(AtomicFileTest, WritesToAPipeThatStaysOne) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  FileDescriptor end(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  auto file = std::make_unique<AtomicFile>(path_);
  auto reader = std::async(std::launch::async, [&] { return content_of(path_); });
  file->write(std::string(1'000'000, 'x'));
  file->commit();
  file.reset();
  end = FileDescriptor();
  EXPECT_EQ(reader.get().size(), 1'000'000U);
  EXPECT_TRUE(fs::is_fifo(path_));
  EXPECT_EQ(files(), 1);
}

TEST_F(AtomicFileTest, RefusesAPipeThatNobodyReads) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  try {
    const AtomicFile file(path_);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(std::string(error.what()), "cannot write " + path_.string() +
                                             ", a pipe that nobody reads yet: No such device or "
                                             "address");
  }
  EXPECT_TRUE(fs::is_fifo(path_));
}

TEST_F(AtomicFileTest, WritesToADeviceThatStaysOne) {
  make_device(kNull);
  if (IsSkipped()) {
    return;
  }
  write_to(path_, "lost");
  fs::create_symlink("file", directory_.path() / "link");
  write_to(directory_.path() / "link", "lost");
  EXPECT_TRUE(fs::is_symlink(directory_.path() / "link"));
  EXPECT_TRUE(fs::is_character_file(path_));
  EXPECT_EQ(files(), 2);
}

TEST_F(AtomicFileTest, WritesToAnOpenFileByItsDescriptor) {
  const int descriptor = ::open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  ASSERT_GE(descriptor, 0);
  struct stat before {};
  ::fstat(descriptor, &before);
  write_to("/proc/self/fd/" + std::to_string(descriptor), "text");
  struct stat after {};
  ::stat(path_.c_str(), &after);
  ::close(descriptor);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(content(), "text");
}

TEST_F(AtomicFileTest, FailsOnAFullDevice) {
  make_device(kFull);
  if (IsSkipped()) {
    return;
  }
  const std::string text(1'000'000, 'x');
  AtomicFile file(path_);
  const auto no_space = std::errc::no_space_on_device;
  expect_errno(no_space, path_, [&] { file.write(text); });
  expect_errno(no_space, path_, [&] { file.commit(); });
}

TEST_F(AtomicFileTest, FailsAtTheLimitOfAFilesSizeAndKeepsWhatWasThere) {
  write_to(path_, "old");
  const FileSizeLimit limit(300'000);
  for (const std::size_t size : {300'001, 3'000'000}) {
    AtomicFile file(path_);
    expect_errno(std::errc::file_too_large, path_, [&] {
      file.write(std::string(size, 'x'));
      file.commit();
    });
    expect_errno(std::errc::file_too_large, path_, [&] { file.commit(); });
  }
  EXPECT_EQ(content(), "old");
  EXPECT_EQ(files(), 1);
}

TEST_F(AtomicFileTest, OfSeveralWritersTheLastOneStaysAndEachIsWhole) {
  constexpr int kWriters = 4;
  constexpr int kRounds = 15;
  const auto text_of = [](int writer) {
    return std::string(400'000, static_cast<char>('a' + writer));
  };
  std::vector<std::thread> threads;
  threads.reserve(kWriters);
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      for (int round = 0; round < kRounds; ++round) {
        EXPECT_NO_THROW(write_to(path_, text_of(writer)));
        const std::string found = content();
        EXPECT_EQ(found, std::string(400'000, found.empty() ? '?' : found.front()));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(files(), 1);
  write_to(path_, "last");
  EXPECT_EQ(content(), "last");
}

TEST_F(AtomicFileTest, RemovesWhatAKilledWriterLeftAndNothingElse) {
  const auto temporary = [&](const char* name) { return directory_.path() / name; };
  const fs::path stale = temporary(".kvcache-0123456789abcdef.tmp");
  const fs::path used = temporary(".kvcache-fedcba9876543210.tmp");
  const fs::path other = temporary(".kvcache-notes.tmp");
  for (const fs::path& path : {stale, used, other}) {
    std::ofstream(path) << "half";
  }
  const FileDescriptor writer(::open(used.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(writer.get(), LOCK_EX | LOCK_NB), 0);
  write_to(path_, "whole");
  EXPECT_FALSE(fs::exists(stale));
  EXPECT_TRUE(fs::exists(used));
  EXPECT_TRUE(fs::exists(other));
}

}  // namespace
}  // namespace kvcache
