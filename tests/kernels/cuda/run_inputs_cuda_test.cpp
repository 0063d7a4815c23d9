#include "kernels/cuda/run_inputs_cuda.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

constexpr std::size_t kBehind = 64;  // bytes
constexpr std::byte kUntouched{0xA5};

class RunInputsOnCuda : public test::OnGpu {};

// Of any number of bytes: those alone, whatever lies behind them.
TEST_F(RunInputsOnCuda, ArriveWhole) {
  test::for_random_cases(60, [](test::Random& random) {
    const auto bytes = static_cast<std::size_t>(
        random.integer(0, random.pick(std::vector<std::int64_t>{40, 5000, 300'000})));
    const test::HostArray<std::byte> host(bytes + kBehind);
    for (std::size_t i = 0; i < bytes + kBehind; ++i) {
      host.data()[i] = static_cast<std::byte>(random.integer(0, 255));
    }
    const test::DeviceArray<std::byte> device(std::vector<std::byte>(bytes + kBehind, kUntouched));
    ASSERT_EQ(bring_inputs(host.data(), device.data(), bytes, nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const std::vector<std::byte> found = device.to_host();
    EXPECT_EQ(std::memcmp(found.data(), host.data(), bytes), 0) << bytes;
    for (std::size_t i = bytes; i < found.size(); ++i) {
      ASSERT_EQ(found[i], kUntouched) << "byte " << i << " of " << bytes;
    }
  });
}

}  // namespace
}  // namespace kvcache::kernels
