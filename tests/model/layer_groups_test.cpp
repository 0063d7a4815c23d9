// Which layers have room of their own in the cache.
#include "model/layer_groups.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace kvcache::model {
namespace {

using Sizes = std::vector<std::size_t>;

DecoderSpec with_windows(const std::vector<std::optional<std::size_t>>& windows) {
  DecoderSpec spec;
  for (const auto& window : windows) {
    spec.layers.emplace_back().attention.window = window;
  }
  return spec;
}

TEST(LayerGroups, AreOfEqualWindowsTheWidestFirst) {
  const LayerGroups groups = layer_groups(with_windows({5, {}, 9, 5, {}}), true);
  EXPECT_EQ(groups.windows, (Sizes{0, 9, 5}));
  EXPECT_EQ(groups.group_of_layer, (Sizes{2, 0, 1, 2, 0}));
  EXPECT_EQ(groups.layers_in(0), 2U);
  EXPECT_EQ(groups.layers_in(1), 1U);
  EXPECT_EQ(groups.group_of(0), 0U);
  EXPECT_EQ(groups.group_of(9), 1U);
  EXPECT_EQ(groups.group_of(5), 2U);
}

TEST(LayerGroups, AreOneWhereNothingIsGivenBackOrWindowsAreEqual) {
  const LayerGroups whole = layer_groups(with_windows({5, {}, 9}), false);
  EXPECT_EQ(whole.windows, (Sizes{0}));
  EXPECT_EQ(whole.group_of_layer, (Sizes{0, 0, 0}));
  EXPECT_EQ(layer_groups(with_windows({5, 9}), false).windows, (Sizes{9}));
  EXPECT_EQ(layer_groups(with_windows({5, 5}), true).windows, (Sizes{5}));
  EXPECT_EQ(layer_groups(with_windows({{}, {}}), true).windows, (Sizes{0}));
  EXPECT_EQ(whole.group_of(5), 0U);
}

TEST(LayerGroups, AreAtMostSoManyAndTheNarrowestWindowsShareTheLast) {
  const LayerGroups groups = layer_groups(with_windows({3, 4, 5, 6, 7, {}}), true);
  static_assert(kMaxLayerGroups == 4);
  EXPECT_EQ(groups.windows, (Sizes{0, 7, 6, 5}));
  EXPECT_EQ(groups.group_of_layer, (Sizes{3, 3, 3, 2, 1, 0}));
}

}  // namespace
}  // namespace kvcache::model
