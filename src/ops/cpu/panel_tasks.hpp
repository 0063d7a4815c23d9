// How the panels of a weight are shared out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>

namespace kvcache::ops {

/// Panels of one task: a few, because each is fetched ahead only within its task, but enough tasks
/// for every core to have two.
inline std::int64_t panels_per_task(std::int64_t panels) {
  constexpr std::int64_t kMost = 3;
  static const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  return std::clamp<std::int64_t>(panels / (2 * std::max<std::int64_t>(cores, 1)), 1, kMost);
}

}  // namespace kvcache::ops
