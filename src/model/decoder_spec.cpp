#include "model/decoder_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

namespace kvcache::model {
namespace {

constexpr std::size_t kMaxSize = std::numeric_limits<std::int32_t>::max();  // of one axis
constexpr double kLargest = 1e30;                                           // of factors
constexpr double kSmallest = 1e-30;
constexpr std::array<std::string_view, 2> kNormKinds{"layer_norm", "rms_norm"};
constexpr std::array<std::string_view, 2> kPositions{"learned", "none"};

float positive(const JsonValue& field) {
  return static_cast<float>(field.number(kSmallest, kLargest));
}

/// What `read` makes of a field, nothing where it is null.
template <typename Read>
auto unless_null(const JsonValue& field, const Read& read) {
  using Value = decltype(read(field));
  return field.is_null() ? std::optional<Value>() : std::optional<Value>(read(field));
}

NormSpec read_norm(const JsonValue& norm) {
  return {.kind = norm.field("kind").text_of(kNormKinds) == kNormKinds[0] ? NormKind::layer_norm
                                                                          : NormKind::rms_norm,
          .epsilon = positive(norm.field("epsilon")),
          .bias = norm.field("bias").flag()};
}

/// Older models have none.
std::optional<NormSpec> read_post_norm(const JsonValue& layer) {
  return layer.has("post_norm") ? unless_null(layer.field("post_norm"), read_norm) : std::nullopt;
}

RotarySpec read_rotary(const JsonValue& rotary, std::size_t head_dim) {
  const JsonValue dims = rotary.field("dims");
  const RotarySpec spec{.dims = dims.size(2, head_dim),
                        .base = rotary.field("base").number(1, kLargest),
                        .interleaved = rotary.field("interleaved").flag()};
  if (spec.dims % 2 != 0) {
    dims.refuse("must be even");
  }
  return spec;
}

AttentionSpec read_attention(const JsonValue& attention) {
  const JsonValue kv_heads = attention.field("num_kv_heads");
  const JsonValue bias = attention.field("bias");
  AttentionSpec spec;
  spec.num_heads = attention.field("num_heads").size(1, kMaxSize);
  spec.num_kv_heads = kv_heads.size(1, spec.num_heads);
  if (spec.num_heads % spec.num_kv_heads != 0) {
    kv_heads.refuse(fmt::format("must divide num_heads, {}", spec.num_heads));
  }
  spec.head_dim = attention.field("head_dim").size(1, kMaxSize);
  spec.scale = static_cast<float>(attention.field("scale").number(-kLargest, kLargest));
  spec.qkv_bias = bias.field("qkv").flag();
  spec.output_bias = bias.field("output").flag();
  spec.rotary = unless_null(attention.field("rotary"), [&](const JsonValue& rotary) {
    return read_rotary(rotary, spec.head_dim);
  });
  spec.window = unless_null(attention.field("window"),
                            [](const JsonValue& window) { return window.size(1, kMaxSize); });
  spec.soft_cap = unless_null(attention.field("soft_cap"), positive);
  spec.qk_norm = unless_null(attention.field("qk_norm"), read_norm);
  return spec;
}

MlpSpec read_mlp(const JsonValue& mlp) {
  const JsonValue bias = mlp.field("bias");
  return {.inner_size = mlp.field("inner_size").size(1, kMaxSize),
          .activation = mlp.field("activation").text(),
          .gated = mlp.field("gated").flag(),
          .up_bias = bias.field("up").flag(),
          .down_bias = bias.field("down").flag()};
}

ValueHeadSpec read_value_head(const JsonValue& head) {
  ValueHeadSpec spec{.inner_sizes = {},
                     .norm = unless_null(head.field("norm"), read_norm),
                     .activation = head.field("activation").text(),
                     .output_activation = head.field("output_activation").text()};
  for (const JsonValue& size : head.field("inner_sizes").elements()) {
    spec.inner_sizes.push_back(size.size(1, kMaxSize));
  }
  return spec;
}

/// The pool has blocks of one shape.
void check_like_first(const JsonValue& layer, const AttentionSpec& found,
                      const AttentionSpec& first) {
  const JsonValue attention = layer.field("attention");
  if (found.num_kv_heads != first.num_kv_heads) {
    attention.field("num_kv_heads")
        .refuse(fmt::format("must be layer 0's, {}", first.num_kv_heads));
  }
  if (found.head_dim != first.head_dim) {
    attention.field("head_dim").refuse(fmt::format("must be layer 0's, {}", first.head_dim));
  }
}

/// The activation functions that kernels of gated products have.
constexpr std::array<std::string_view, 3> kGateActivations{"gelu_tanh", "gelu_erf", "silu"};

constexpr std::size_t kMostHeadDimOnCuda = 256;

}  // namespace

DecoderSpec read_decoder_spec(const JsonValue& json) {
  DecoderSpec spec;
  spec.hidden_size = json.field("hidden_size").size(1, kMaxSize);
  spec.vocab_size = json.field("vocab_size").size(1, kMaxSize);
  spec.max_seq_len = json.field("max_seq_len").size(1, kMaxSize);
  const JsonValue embedding = json.field("embedding");
  spec.embedding_scale = positive(embedding.field("scale"));
  spec.learned_positions = embedding.field("positions").text_of(kPositions) == kPositions[0];
  const JsonValue layers = json.field("layers");
  for (const JsonValue& layer : layers.elements()) {
    spec.layers.push_back({.norm = read_norm(layer.field("norm")),
                           .attention = read_attention(layer.field("attention")),
                           .mlp = read_mlp(layer.field("mlp")),
                           .post_norm = read_post_norm(layer)});
    check_like_first(layer, spec.layers.back().attention, spec.layers.front().attention);
  }
  if (spec.layers.empty()) {
    layers.refuse("must have an entry for each layer, at least one");
  }
  spec.final_norm = read_norm(json.field("final_norm"));
  const JsonValue head = json.field("head");
  spec.tied_head = head.field("tied").flag();
  spec.logits_soft_cap = unless_null(head.field("soft_cap"), positive);
  if (json.has("value_head")) {  // older models have none
    spec.value_head = unless_null(json.field("value_head"), read_value_head);
  }
  return spec;
}

std::size_t largest_window(const DecoderSpec& spec) noexcept {
  std::size_t largest = 0;
  for (const LayerSpec& layer : spec.layers) {
    if (!layer.attention.window) {
      return 0;
    }
    largest = std::max(largest, *layer.attention.window);
  }
  return largest;
}

std::string unsupported_part(const DecoderSpec& spec) {
  const auto biased_rms = [](const NormSpec& norm) {
    return norm.kind == NormKind::rms_norm && norm.bias;
  };
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    const std::optional<NormSpec>& qk_norm = layer.attention.qk_norm;
    if (layer.post_norm && (layer.post_norm->kind != NormKind::rms_norm || layer.post_norm->bias)) {
      return fmt::format("norms behind attention and network other than rms_norm in layer {}", i);
    }
    if (biased_rms(layer.norm)) {
      return fmt::format("an rms_norm with a bias in layer {}", i);
    }
    if (qk_norm && (qk_norm->kind != NormKind::rms_norm || qk_norm->bias)) {
      return fmt::format("norms of queries and keys other than rms_norm in layer {}", i);
    }
    if (layer.mlp.gated && std::ranges::count(kGateActivations, layer.mlp.activation) == 0) {
      return fmt::format("a gate of {} in layer {}", layer.mlp.activation, i);
    }
  }
  return biased_rms(spec.final_norm) ? "an rms_norm with a bias before the head" : "";
}

std::string part_without_cuda(const DecoderSpec& spec) {
  const std::size_t head_dim = spec.layers.front().attention.head_dim;  // all layers'
  return head_dim > kMostHeadDimOnCuda
             ? fmt::format("heads of {} elements, more than {}", head_dim, kMostHeadDimOnCuda)
             : "";
}

}  // namespace kvcache::model
