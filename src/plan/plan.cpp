#include "plan/plan.hpp"

#include <fmt/format.h>

namespace kvcache::plan {
namespace {

class Writer {
 public:
  Writer(const model::DecoderSpec& spec, const model::LayerGroups& groups)
      : spec_(spec), groups_(groups) {}

  Plan write(std::span<const OutputInfo> outputs) && {
    Buffer x = new_buffer(spec_.hidden_size);
    add(kEmbeddingNode, Embed{x});
    for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer) {
      x = add_mlp(layer, add_attention(layer, x));
    }
    for (std::size_t output = 0; output < outputs.size(); ++output) {
      if (outputs[output].name == kHiddenStatesNode) {
        add(kHiddenStatesNode, Normalize{x, output});
      } else if (outputs[output].name == kValueOutput && spec_.value_head) {
        add(kValueHeadNode, Value{x, output});
      } else {
        add(outputs[output].name, Compute{outputs[output].name});
      }
    }
    add(kHeadNode, Multiply{x, {}, new_buffer(spec_.vocab_size), true});
    return std::move(plan_);
  }

 private:
  Buffer new_buffer(std::size_t width) {
    plan_.widths.push_back(width);
    return plan_.widths.size() - 1;
  }

  void add(std::string node, const decltype(Operation::what)& what) {
    plan_.operations.push_back({std::move(node), what});
  }

  Buffer add_attention(std::size_t layer, Buffer x) {
    const model::AttentionSpec& attention = spec_.layers[layer].attention;
    const std::size_t heads = attention.num_heads + 2 * attention.num_kv_heads;
    const Buffer qkv = new_buffer(heads * attention.head_dim);
    const Buffer mixed = new_buffer(attention.num_heads * attention.head_dim);
    const Buffer out = new_buffer(spec_.hidden_size);
    add(layer_node(layer, "attention.qkv"), Multiply{x, {}, qkv});
    add(layer_node(layer, "attention"),
        Attend{qkv, mixed, layer, attention.num_heads, attention.num_kv_heads, attention.head_dim,
               groups_.group_of_layer[layer], attention.scale,
               attention.rotary || attention.qk_norm || attention.window || attention.soft_cap});
    add(layer_node(layer, "attention.output"), Multiply{mixed, x, out});
    return out;
  }

  Buffer add_mlp(std::size_t layer, Buffer x) {
    const model::MlpSpec& mlp = spec_.layers[layer].mlp;
    const Buffer inner = new_buffer(mlp.inner_size);
    const Buffer out = new_buffer(spec_.hidden_size);
    add(layer_node(layer, "mlp.up"), Multiply{x, {}, inner});
    if (!activates_within_product(mlp)) {
      add(layer_node(layer, "mlp.activation"), Activate{mlp.activation});
    }
    add(layer_node(layer, "mlp.down"), Multiply{inner, x, out});
    return out;
  }

  const model::DecoderSpec& spec_;
  const model::LayerGroups& groups_;
  Plan plan_;
};

}  // namespace

bool activates_within_product(const model::MlpSpec& mlp) {
  return mlp.gated || mlp.activation == "gelu_tanh";
}

std::string layer_node(std::size_t layer, std::string_view role) {
  return fmt::format("layers.{}.{}", layer, role);
}

Plan make_plan(const model::DecoderSpec& spec, std::span<const OutputInfo> outputs,
               const model::LayerGroups& groups) {
  return Writer(spec, groups).write(outputs);
}

}  // namespace kvcache::plan
