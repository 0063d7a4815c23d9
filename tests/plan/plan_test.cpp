// The plan of a spec: which node does what, and between which buffers.
#include "plan/plan.hpp"

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

namespace kvcache::plan {
namespace {

model::DecoderSpec two_layers() {
  model::DecoderSpec spec;
  spec.hidden_size = 12;
  spec.vocab_size = 50;
  spec.max_seq_len = 64;
  model::LayerSpec layer;
  layer.attention.num_heads = 3;
  layer.attention.num_kv_heads = 3;
  layer.attention.head_dim = 4;
  layer.attention.scale = 0.5F;
  layer.mlp.inner_size = 48;
  layer.mlp.activation = "gelu_tanh";
  spec.layers = {layer, layer};
  return spec;
}

std::vector<std::string> nodes(const Plan& plan) {
  std::vector<std::string> names;
  for (const Operation& operation : plan.operations) {
    names.push_back(operation.node);
  }
  return names;
}

TEST(Plan, NamesTheNodesOfTheGraphInTheirOrder) {
  const model::DecoderSpec spec = two_layers();
  const std::vector<std::string> expected{"embedding",
                                          "layers.0.attention.qkv",
                                          "layers.0.attention",
                                          "layers.0.attention.output",
                                          "layers.0.mlp.up",
                                          "layers.0.mlp.down",
                                          "layers.1.attention.qkv",
                                          "layers.1.attention",
                                          "layers.1.attention.output",
                                          "layers.1.mlp.up",
                                          "layers.1.mlp.down",
                                          "head"};
  EXPECT_EQ(nodes(make_plan(spec, {})), expected);
}

TEST(Plan, HasTheOutputsBesideTheLogits) {
  const model::DecoderSpec spec = two_layers();
  const std::vector<OutputInfo> outputs{{"value", 1}, {"hidden_states", 12}};
  const Plan plan = make_plan(spec, outputs);
  const std::vector<std::string> names = nodes(plan);
  ASSERT_GE(names.size(), 3U);
  EXPECT_EQ((std::vector(names.end() - 3, names.end())),
            (std::vector<std::string>{"value", "hidden_states", "head"}));
  const auto& normalize = std::get<Normalize>(plan.operations.at(names.size() - 2).what);
  EXPECT_EQ(normalize.output, 1U);
  EXPECT_EQ(normalize.x, std::get<Multiply>(plan.operations.back().what).x);
  EXPECT_TRUE(std::holds_alternative<Compute>(plan.operations.at(names.size() - 3).what));
}

/// Whoever runs it may let threads read a buffer while others are on their way to the next.
TEST(Plan, WritesEachBufferOnceAndReadsNoneBefore) {
  const model::DecoderSpec spec = two_layers();
  const Plan plan = make_plan(spec, {});
  std::vector<bool> written(plan.widths.size());
  const auto write = [&](Buffer buffer) {
    EXPECT_FALSE(written.at(buffer));
    written.at(buffer) = true;
  };
  const auto read = [&](Buffer buffer) { EXPECT_TRUE(written.at(buffer)); };
  for (const Operation& operation : plan.operations) {
    if (const auto* embed = std::get_if<Embed>(&operation.what)) {
      write(embed->out);
    } else if (const auto* multiply = std::get_if<Multiply>(&operation.what)) {
      read(multiply->x);
      if (multiply->residual) {
        read(*multiply->residual);
        EXPECT_EQ(plan.widths[*multiply->residual], plan.widths[multiply->out]);
      }
      write(multiply->out);
    } else if (const auto* attend = std::get_if<Attend>(&operation.what)) {
      read(attend->qkv);
      write(attend->out);
    }
  }
  EXPECT_EQ(written, std::vector<bool>(plan.widths.size(), true));
}

TEST(Plan, HasTheSpecsSizes) {
  const model::DecoderSpec spec = two_layers();
  const Plan plan = make_plan(spec, {});
  const auto& qkv = std::get<Multiply>(plan.operations[1].what);
  const auto& attend = std::get<Attend>(plan.operations[2].what);
  const auto& output = std::get<Multiply>(plan.operations[3].what);
  const auto& head = std::get<Multiply>(plan.operations.back().what);
  EXPECT_EQ(plan.widths[qkv.out], 36U);
  EXPECT_EQ(plan.widths[attend.out], 12U);
  EXPECT_EQ(attend.layer, 0U);
  EXPECT_EQ(attend.num_heads, 3U);
  EXPECT_EQ(attend.scale, 0.5F);
  EXPECT_EQ(output.residual, qkv.x);
  EXPECT_EQ(plan.widths[head.out], 50U);
  EXPECT_EQ(head.out, plan.widths.size() - 1);
  EXPECT_TRUE(head.selects);
}

TEST(Plan, HasWhatGroupedHeadsAndAGateMake) {
  model::DecoderSpec spec = two_layers();
  spec.layers[0].attention.num_kv_heads = 1;
  spec.layers[0].mlp.gated = true;
  spec.layers[0].mlp.activation = "silu";
  const Plan plan = make_plan(spec, {});
  const auto& qkv = std::get<Multiply>(plan.operations[1].what);
  const auto& attend = std::get<Attend>(plan.operations[2].what);
  const auto& up = std::get<Multiply>(plan.operations[4].what);
  EXPECT_EQ(plan.widths[qkv.out], (3U + 2U) * 4U);
  EXPECT_EQ(plan.widths[attend.out], 12U);
  EXPECT_EQ(attend.num_kv_heads, 1U);
  EXPECT_EQ(plan.widths[up.out], 48U) << "not both factors";
  EXPECT_EQ(plan.operations[5].node, "layers.0.mlp.down") << "the gate activates itself";
}

TEST(Plan, SaysWhichActivationHasNoKernel) {
  model::DecoderSpec spec = two_layers();
  spec.layers[1].mlp.activation = "silu";
  const Plan plan = make_plan(spec, {});
  const auto& operation = plan.operations[10];
  EXPECT_EQ(operation.node, "layers.1.mlp.activation");
  EXPECT_EQ(std::get<Activate>(operation.what).activation, "silu");
}

TEST(Plan, KnowsWhoseRowsOfBlockTablesALayerReads) {
  model::DecoderSpec spec = two_layers();
  spec.layers[0].attention.window = 5;
  const auto groups_of = [](const Plan& plan) {
    std::vector<std::size_t> groups;
    for (const Operation& operation : plan.operations) {
      if (const auto* attend = std::get_if<Attend>(&operation.what)) {
        groups.push_back(attend->group);
      }
    }
    return groups;
  };
  EXPECT_EQ(groups_of(make_plan(spec, {}, model::layer_groups(spec, true))),
            (std::vector<std::size_t>{1, 0}));
  EXPECT_EQ(groups_of(make_plan(spec, {})), (std::vector<std::size_t>{0, 0}));
}

}  // namespace
}  // namespace kvcache::plan
