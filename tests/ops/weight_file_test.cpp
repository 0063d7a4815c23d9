#include "ops/weight_file.hpp"

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

#include "kvcache/error.hpp"
#include "ops/memory_map.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::ops {
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
    contents_.resize(size);
    for (std::size_t i = 0; i < size; ++i) {
      contents_[i] = static_cast<char>((i >> 12U) + i * 31);
    }
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

TEST_F(WeightFileTest, HoldsTheBytesOnHugePageBoundaries) {
  // Several parts, and no multiple of anything; less than a page.
  for (const std::size_t size : {std::size_t{39'999'999}, std::size_t{5}}) {
    const std::filesystem::path path = write(size);
    WeightFile first(path);
    WeightFile file = std::move(first);
    EXPECT_TRUE(is_held_by(file));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.bytes().data()) % kHugePage, 0U);
    EXPECT_TRUE(file_at(file.bytes().data()).has_value());
    EXPECT_FALSE(file.wait_for_huge_pages()) << "nobody asked for them";

    const std::byte* place = file.bytes().data();
    file.move_to_huge_pages(3);
    WeightFile last = std::move(file);
    EXPECT_TRUE(last.wait_for_huge_pages());
    EXPECT_EQ(last.bytes().data(), place);
    EXPECT_TRUE(is_held_by(last));
    EXPECT_FALSE(file_at(place).has_value());
    EXPECT_FALSE(file_at(place + size - 1).has_value());
  }
}

TEST_F(WeightFileTest, IsReadWhileItMoves) {
  WeightFile file(write(60'000'000));
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
  file.move_to_huge_pages(2);
  EXPECT_TRUE(file.wait_for_huge_pages());
  moved = true;
  for (std::future<bool>& reader : readers) {
    EXPECT_TRUE(reader.get());
  }
}

TEST_F(WeightFileTest, LeavesNothingMappedWhenItGoesWhileItMoves) {
  const std::filesystem::path path = write(60'000'000);
  for (int i = 0; i < 5; ++i) {
    std::span<const std::byte> place;
    {
      WeightFile file(path);
      place = file.bytes();
      file.move_to_huge_pages(2);
      while (file_at(place.data())) {  // the first part moves: most of the others are to come
        std::this_thread::yield();
      }
    }
    EXPECT_EQ(mapped_pages(place), 0U);
  }
}

TEST_F(WeightFileTest, HasEnteredThePagesThatWereWaitedFor) {
  const WeightFile file(write(30'000'000));
  for (const std::size_t end :
       {std::size_t{0}, std::size_t{1}, std::size_t{8'400'000}, std::size_t{30'000'000}}) {
    file.wait(end);
    EXPECT_EQ(std::memcmp(file.bytes().data(), contents_.data(), end), 0);
  }
}

TEST_F(WeightFileTest, HoldsNothingOfAnEmptyFile) {
  WeightFile file(write(0));
  file.wait(0);
  file.move_to_huge_pages(1);
  EXPECT_FALSE(file.wait_for_huge_pages());
  EXPECT_TRUE(file.bytes().empty());
}

TEST_F(WeightFileTest, SaysWhatItCannotRead) {
  test::expect_error(ErrorCode::model_not_found, "/no/such/file: No such file",
                     [] { const WeightFile file("/no/such/file"); });
  test::expect_error(ErrorCode::model_not_found, "Is a directory",
                     [this] { const WeightFile file(directory_.path()); });
}

}  // namespace
}  // namespace kvcache::ops
