#include "count_copies.hpp"

#ifdef KVCACHE_HAS_CUPTI

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "checks.hpp"
#include "gpu/device_activity.hpp"
#include "scenarios.hpp"

namespace kvcache::prototype {

bool can_count_copies() noexcept { return true; }

namespace {

constexpr std::size_t kCountedTokens = 32;

}  // namespace

bool count_copies(KVCacheInferencer& inferencer) {
  inferencer.reset();
  TokenId next = begin_of_text(inferencer);
  const auto decode = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      next = inferencer.forward({&next, 1}).argmax();
    }
  };
  const std::size_t positions = inferencer.model().info().max_seq_len;
  decode(std::min<std::size_t>(8, positions / 2));  // until the run is captured
  const std::size_t count = std::min(kCountedTokens, positions / 2);
  bench::DeviceActivity activity;
  decode(count);
  activity.finish();

  const auto tokens = static_cast<double>(count);
  const auto print = [&](const char* what, const bench::DeviceActivity::Copies& copies) {
    fmt::print("  {:17} {:6.2f} copies, {:8.1f} bytes a token\n", what,
               static_cast<double>(copies.count) / tokens,
               static_cast<double>(copies.bytes) / tokens);
  };
  print("Host to device:", activity.host_to_device);
  print("Device to host:", activity.device_to_host);
  print("Device to device:", activity.device_to_device);
  fmt::print("  {:17} {:6.2f} a token\n\n",
             "Kernels:", static_cast<double>(activity.kernels) / tokens);
  bool held = print_check(activity.kernels > 0, "The GPU did the work");
  held &= print_check(
      activity.device_to_device.bytes == 0,
      fmt::format("Bytes copied within the device: {}", activity.device_to_device.bytes));
  held &= print_check(activity.allocations == 0,
                      fmt::format("Allocations on the device: {}", activity.allocations));
  return held;
}

}  // namespace kvcache::prototype

#else

namespace kvcache::prototype {

bool can_count_copies() noexcept { return false; }

bool count_copies(KVCacheInferencer& /*inferencer*/) { return false; }

}  // namespace kvcache::prototype

#endif
