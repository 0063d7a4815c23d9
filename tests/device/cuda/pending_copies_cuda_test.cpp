// Copies that wait for their launch: as if each had been done when it was asked for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "device/cuda/pending_copies.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::device {
namespace {

using test::DeviceArray;
using test::Random;

class PendingCopiesOnCuda : public test::OnGpu {};

TEST_F(PendingCopiesOnCuda, GiveWhatOneAfterTheOtherGives) {
  test::for_random_cases(100, [](Random& random) {
    // Blocks [heads, tokens, vector] in each of some pools.
    const auto size = [&](std::int64_t least, std::int64_t most) {
      return static_cast<std::size_t>(random.integer(least, most));
    };
    const std::size_t vector_bytes =
        random.pick(std::vector<std::size_t>{1, 2, 4, 16}) * size(1, 20);
    const std::size_t tokens = size(1, 16);
    const std::size_t heads = size(1, 4);
    const std::size_t blocks = size(2, 6);  // few: copies of copies
    const std::size_t pools = size(1, 5);
    const std::size_t block_bytes = heads * tokens * vector_bytes;
    std::vector<unsigned char> expected(pools * blocks * block_bytes);
    std::ranges::generate(expected, [&] { return static_cast<unsigned char>(size(0, 255)); });
    const DeviceArray<unsigned char> memory(expected);
    PendingCopies copies;
    for (std::size_t copy = size(1, 200); copy > 0; --copy) {
      const std::size_t count = size(1, static_cast<std::int64_t>(tokens));
      const auto place = [&] {
        return size(0, static_cast<std::int64_t>(blocks) - 1) * block_bytes +
               size(0, static_cast<std::int64_t>(tokens - count)) * vector_bytes;
      };
      const std::size_t from = place();
      const std::size_t to = place();
      if (from < to + count * vector_bytes && to < from + count * vector_bytes) {
        continue;  // onto itself: nobody asks for that
      }
      copies.add(to, from,
                 {.bytes = count * vector_bytes,
                  .stride = tokens * vector_bytes,
                  .count = heads,
                  .pool_stride = blocks * block_bytes,
                  .pools = pools});
      for (std::size_t pool = 0; pool < pools; ++pool) {
        for (std::size_t head = 0; head < heads; ++head) {
          const std::size_t at = pool * blocks * block_bytes + head * tokens * vector_bytes;
          std::copy_n(expected.begin() + static_cast<std::ptrdiff_t>(at + from),
                      count * vector_bytes,
                      expected.begin() + static_cast<std::ptrdiff_t>(at + to));
        }
      }
    }
    copies.put_in(reinterpret_cast<std::byte*>(memory.data()), nullptr);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(memory.to_host(), expected);
  });
}

}  // namespace
}  // namespace kvcache::device
