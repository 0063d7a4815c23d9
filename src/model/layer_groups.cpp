#include "model/layer_groups.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <set>

namespace kvcache::model {
namespace {

/// Tokens that one sees with this window.
std::size_t seen_with(std::size_t window) {
  return window == 0 ? std::numeric_limits<std::size_t>::max() : window;
}

std::size_t window_of(const LayerSpec& layer) { return layer.attention.window.value_or(0); }

}  // namespace

std::size_t LayerGroups::group_of(std::size_t window) const noexcept {
  std::size_t group = 0;
  while (group + 1 < size() && seen_with(windows[group + 1]) >= seen_with(window)) {
    ++group;
  }
  return group;
}

std::size_t LayerGroups::layers_in(std::size_t group) const noexcept {
  return static_cast<std::size_t>(std::ranges::count(group_of_layer, group));
}

LayerGroups one_group(std::size_t layers, std::size_t window) {
  return {.windows = {window}, .group_of_layer = std::vector<std::size_t>(layers)};
}

LayerGroups layer_groups(const DecoderSpec& spec, bool give_back) {
  if (!give_back) {
    return one_group(spec.layers.size(), largest_window(spec));
  }
  std::set<std::size_t, std::greater<>> seen;
  for (const LayerSpec& layer : spec.layers) {
    seen.insert(seen_with(window_of(layer)));
  }
  LayerGroups groups;
  for (const std::size_t tokens : seen) {
    if (groups.size() < kMaxLayerGroups) {
      groups.windows.push_back(tokens == seen_with(0) ? 0 : tokens);
    }
  }
  for (const LayerSpec& layer : spec.layers) {
    groups.group_of_layer.push_back(groups.group_of(window_of(layer)));
  }
  return groups;
}

}  // namespace kvcache::model
