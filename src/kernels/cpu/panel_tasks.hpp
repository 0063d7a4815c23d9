// How a product with a weight in panels is shared out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>

#include "base/parallel_for.hpp"
#include "base/rounding.hpp"

namespace kvcache::kernels {

/// Panels of one task: a few, because each is fetched ahead only within its task, but enough tasks
/// for every core to have two.
inline std::int64_t panels_per_task(std::int64_t panels) {
  constexpr std::int64_t kMost = 3;
  static const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  return std::clamp<std::int64_t>(panels / (2 * std::max<std::int64_t>(cores, 1)), 1, kMost);
}

/// Calls work(panel, first token, tokens) for parts that together are all panels of all tokens.
template <typename Work>
void for_panel_tasks(std::int64_t panels, std::int64_t tokens, const ParallelFor& parallel_for,
                     const Work& work) {
  constexpr std::int64_t kTaskTokens = 128;
  const std::int64_t group = parallel_for.keeps_neighbours() ? 1 : panels_per_task(panels);
  const std::int64_t groups = divide_up(panels, group);
  const std::int64_t chunks = divide_up(tokens, kTaskTokens);
  // Tasks of the same panels are neighbours: threads share what they read of the weights.
  parallel_for(groups * chunks, [&](std::int64_t task) {
    const std::int64_t first = task % chunks * kTaskTokens;
    const std::int64_t end = std::min((task / chunks + 1) * group, panels);
    for (std::int64_t panel = task / chunks * group; panel < end; ++panel) {
      work(panel, first, std::min(kTaskTokens, tokens - first));
    }
  });
}

}  // namespace kvcache::kernels
