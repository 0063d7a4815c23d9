// One step of a model as a list of operations over numbered buffers: what an executor needs to know
// to run it without ONNX Runtime.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kvcache/types.hpp"
#include "model/decoder_spec.hpp"
#include "model/layer_groups.hpp"

namespace kvcache::plan {

/// The number of a buffer [tokens, its width]. Each is written once.
using Buffer = std::size_t;

struct Embed {
  Buffer out;
};

/// A product, with the norm, bias and activation that its weights have.
struct Multiply {
  Buffer x;
  std::optional<Buffer> residual;
  Buffer out;
  bool selects = false;  // of the tokens, those whose logits are asked for
};

struct Attend {
  Buffer qkv;
  Buffer out;
  std::size_t layer;
  std::size_t num_heads;     // of queries
  std::size_t num_kv_heads;  // of keys and values
  std::size_t head_dim;
  std::size_t group;  // of layers: whose rows of the block table are this one's
  float scale;
  bool has_rules = false;  // beyond scale and mask: positions, norms, a window, a soft cap
};

/// Whether a feed-forward network's first product ends with its activation function, as the graph
/// says: a gate's always does. Others are a node behind it.
bool activates_within_product(const model::MlpSpec& mlp);

/// An activation function behind a product.
struct Activate {
  std::string activation;
};

/// An output beside the logits: the final norm of the tokens whose logits are asked for.
struct Normalize {
  Buffer x;
  std::size_t output;  // its number in ModelInfo::outputs
};

/// One number for each of those tokens.
struct Value {
  Buffer x;
  std::size_t output;
};

/// One that only the graph can compute.
struct Compute {
  std::string output;
};

struct Operation {
  std::string node;  // the node of the graph that does the same, and whose weights it has
  std::variant<Embed, Multiply, Attend, Activate, Normalize, Value, Compute> what;
};

struct Plan {
  std::vector<Operation> operations;  // the last one writes the logits
  std::vector<std::size_t> widths;    // of the buffers
};

/// The names of the graph's nodes (docs/MODEL_FILE.md).
inline constexpr const char* kEmbeddingNode = "embedding";
inline constexpr const char* kHeadNode = "head";
inline constexpr const char* kHiddenStatesNode = "hidden_states";  // and its output
inline constexpr const char* kValueHeadNode = "value_head";
inline constexpr const char* kValueOutput = "value";
std::string layer_node(std::size_t layer, std::string_view role);  // "attention.qkv", "mlp.up", …

/// @param outputs what the model computes beside its logits
/// @param groups those of its layers that have rows of block tables of their own
Plan make_plan(const model::DecoderSpec& spec, std::span<const OutputInfo> outputs,
               const model::LayerGroups& groups);
/// The same with all layers in one group.
inline Plan make_plan(const model::DecoderSpec& spec, std::span<const OutputInfo> outputs) {
  return make_plan(spec, outputs, model::one_group(spec.layers.size(), 0));
}

}  // namespace kvcache::plan
