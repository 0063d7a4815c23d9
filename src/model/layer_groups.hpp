// The layers of a model in groups, by how many tokens one sees in them.
#pragma once

#include <cstddef>
#include <vector>

#include "model/decoder_spec.hpp"

namespace kvcache::model {

/// More different windows than published models have; what tables of blocks hold for each is small.
inline constexpr std::size_t kMaxLayerGroups = 4;

/// Each group has room of its own in the cache, so that it gives back what no token to come sees in
/// its layers, whatever other layers see. Those that see more come first: what a group needs, all
/// groups before it need.
struct LayerGroups {
  std::vector<std::size_t> windows;         // of each group: its widest layer's; 0: sees all
  std::vector<std::size_t> group_of_layer;  // one for each layer

  [[nodiscard]] std::size_t size() const noexcept { return windows.size(); }

  /// The group of a layer with this window (0: sees all), the last that sees as much.
  [[nodiscard]] std::size_t group_of(std::size_t window) const noexcept;

  [[nodiscard]] std::size_t layers_in(std::size_t group) const noexcept;
};

/// All layers together; `window`: the widest, 0 where one sees all.
LayerGroups one_group(std::size_t layers, std::size_t window);

/// A group for each window that layers have, where sequences give blocks back; else one for all.
/// Beyond kMaxLayerGroups, the narrowest windows are in the last group.
LayerGroups layer_groups(const DecoderSpec& spec, bool give_back);

}  // namespace kvcache::model
