#include "weights/weight_file.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <future>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include "base/memory_map.hpp"
#include "kvcache/error.hpp"
#include "support/mapped_file.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::weights {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// How many pages of these addresses are mapped. Takes no memory: what it took might lie there.
std::size_t mapped_pages(std::span<const std::byte> place) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::size_t mapped = 0;
  for (std::size_t at = 0; at < place.size(); at += page) {
    auto* address = const_cast<std::byte*>(place.data() + at);
    mapped += ::msync(address, page, MS_ASYNC) == 0 ? 1U : 0U;  // ENOMEM where nothing is mapped
  }
  return mapped;
}

class WeightFileTest : public testing::Test {
 protected:
  /// A file of so many bytes, no two neighbouring pages alike.
  std::filesystem::path write(std::size_t size) {
    for (std::size_t i = contents_.size(); i < size; ++i) {
      contents_ += static_cast<char>((i >> 12U) + i * 31);
    }
    contents_.resize(size);
    std::filesystem::path path = directory_.path() / "weights";
    std::ofstream(path, std::ios::binary) << contents_;
    return path;
  }

  [[nodiscard]] bool is_held_by(const WeightFile& file) const {
    return file.bytes().size() == contents_.size() &&
           std::memcmp(file.bytes().data(), contents_.data(), contents_.size()) == 0;
  }

  std::string contents_;
  test::TemporaryDirectory directory_;
};

constexpr WeightSource kSources[] = {WeightSource::mapped, WeightSource::held, WeightSource::read};

TEST_F(WeightFileTest, HoldsTheBytesOnHugePageBoundaries) {
  // Several parts, and no multiple of anything; less than a page.
  for (const std::size_t size : {std::size_t{39'999'999}, std::size_t{5}}) {
    for (const WeightSource source : kSources) {
      const std::filesystem::path path = write(size);
      WeightFile first(path, source, 3);
      WeightFile file = std::move(first);
      file.wait(size);
      EXPECT_TRUE(is_held_by(file));
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.bytes().data()) % kHugePage, 0U);
      EXPECT_FALSE(file.wait_for_move()) << "nobody asked for it";

      const std::byte* place = file.bytes().data();
      file.settle({});
      file.move();
      WeightFile last = std::move(file);
      EXPECT_TRUE(last.wait_for_move());
      EXPECT_EQ(last.bytes().data(), place);
      EXPECT_TRUE(is_held_by(last));
      EXPECT_FALSE(file_at(place).has_value());
      EXPECT_FALSE(file_at(place + size - 1).has_value());
    }
  }
}

TEST_F(WeightFileTest, IsNamedAsItsOtherMappings) {
  const std::filesystem::path path = write(20'000);
  const test::MappedFile other(path);
  for (const WeightSource source : kSources) {
    EXPECT_EQ(WeightFile(path, source, 1).file(), file_at(other.bytes().data())->file);
  }
}

TEST_F(WeightFileTest, MovesOtherMappingsOfItToo) {
  for (const WeightSource source : kSources) {
    const std::filesystem::path path = write(9'000'000);
    const test::MappedFile other(path);
    auto* const begin = const_cast<std::byte*>(other.bytes().data());
    WeightFile file(path, source, 2);
    // Two pages, and what there is of the last one.
    file.settle({{{begin + 8'192, 8'192}, file.bytes().data() + 8'192},
                 {{begin + 8'998'912, 1'088}, file.bytes().data() + 8'998'912}});
    file.move();
    EXPECT_TRUE(file.wait_for_move());
    EXPECT_FALSE(file_at(begin + 8'192).has_value());
    EXPECT_FALSE(file_at(begin + 16'383).has_value());
    EXPECT_FALSE(file_at(begin + 8'999'999).has_value());
    EXPECT_TRUE(file_at(begin).has_value()) << "nobody reads it";
    EXPECT_EQ(std::memcmp(begin, contents_.data(), contents_.size()), 0);
  }
}

TEST_F(WeightFileTest, IsReadWhileItMoves) {
  WeightFile file(write(60'000'000), WeightSource::held, 2);
  std::atomic<bool> moved = false;
  std::atomic<int> readings = 0;
  const auto read = [&] {
    bool same = true;
    for (bool last = false; !last;) {
      last = moved;  // once more after that
      same = same && is_held_by(file);
      ++readings;
    }
    return same;
  };
  std::array readers{std::async(std::launch::async, read), std::async(std::launch::async, read),
                     std::async(std::launch::async, read)};
  while (readings == 0) {
    std::this_thread::yield();
  }
  file.settle({});
  file.move();
  EXPECT_TRUE(file.wait_for_move());
  moved = true;
  for (std::future<bool>& reader : readers) {
    EXPECT_TRUE(reader.get());
  }
}

TEST_F(WeightFileTest, WhoeverWantsToChangeTheFileWaitsForTheMove) {
  const std::filesystem::path path = write(30'000'000);
  WeightFile file(path, WeightSource::held, 2);
  if (!file_at(file.bytes().data())) {
    GTEST_SKIP() << "this file system gives no leases: the file was read";
  }
  std::thread writer([&] { std::ofstream(path, std::ios::trunc) << "other"; });
  EXPECT_TRUE(is_held_by(file));  // whenever the writer comes
  file.settle({});
  writer.join();  // nobody called move(): who wants to write begins it
  EXPECT_TRUE(file.wait_for_move());
  EXPECT_EQ(std::filesystem::file_size(path), 5U);
  EXPECT_TRUE(is_held_by(file));
}

TEST_F(WeightFileTest, IsReadWhereItCannotBeHeld) {
  const std::filesystem::path path = write(10'000'000);
  const std::ofstream writer(path, std::ios::app);
  WeightFile file(path, WeightSource::held, 2);
  EXPECT_TRUE(file.is_independent());
  file.wait(contents_.size());
  std::filesystem::resize_file(path, 0);
  EXPECT_TRUE(is_held_by(file));
}

TEST_F(WeightFileTest, SaysThatTheFileBecameShorterWhileItWasRead) {
  const std::filesystem::path path = write(50'000'000);
  int refused = 0;
  for (int i = 0; i < 20; ++i) {
    write(50'000'000);
    std::thread shorter([&] { std::filesystem::resize_file(path, 49'000'000); });
    const WeightFile file(path, WeightSource::read, 1);
    shorter.join();
    try {
      file.wait(file.bytes().size());
      EXPECT_EQ(std::memcmp(file.bytes().data(), contents_.data(), file.bytes().size()), 0);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::digest_mismatch);
      EXPECT_NE(std::string(error.what()).find("it became shorter meanwhile"), std::string::npos);
      ++refused;
    }
  }
  RecordProperty("refused", refused);
}

TEST_F(WeightFileTest, LeavesNothingMappedWhenItGoesWhileItMoves) {
  const std::filesystem::path path = write(60'000'000);
  for (int i = 0; i < 5; ++i) {
    std::span<const std::byte> place;
    {
      WeightFile file(path, WeightSource::held, 2);
      if (!file_at(file.bytes().data())) {
        GTEST_SKIP() << "this file system gives no leases: the file was read";
      }
      place = file.bytes();
      file.settle({});
      file.move();
      while (file_at(place.data())) {  // the first part moves: most of the others are to come
        std::this_thread::yield();
      }
    }
    EXPECT_EQ(mapped_pages(place), 0U);
  }
}

TEST_F(WeightFileTest, HasThePagesThatWereWaitedFor) {
  for (const WeightSource source : kSources) {
    const WeightFile file(write(30'000'000), source, 2);
    for (const std::size_t end :
         {std::size_t{0}, std::size_t{1}, std::size_t{8'400'000}, std::size_t{30'000'000}}) {
      file.wait(end);
      EXPECT_EQ(std::memcmp(file.bytes().data(), contents_.data(), end), 0);
    }
  }
}

TEST_F(WeightFileTest, HoldsNothingOfAnEmptyFile) {
  for (const WeightSource source : kSources) {
    WeightFile file(write(0), source, 1);
    file.wait(0);
    file.settle({});
    file.move();
    EXPECT_TRUE(file.is_independent());
    EXPECT_TRUE(file.bytes().empty());
  }
}

TEST_F(WeightFileTest, SaysWhatItCannotRead) {
  for (const WeightSource source : kSources) {
    test::expect_error(ErrorCode::model_not_found, "/no/such/file: No such file",
                       [&] { const WeightFile file("/no/such/file", source, 1); });
    test::expect_error(ErrorCode::model_not_found, "Is a directory",
                       [&] { const WeightFile file(directory_.path(), source, 1); });
  }
}

}  // namespace
}  // namespace kvcache::weights
