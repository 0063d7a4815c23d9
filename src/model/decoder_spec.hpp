// What a decoder-only transformer is made of, as the exporter wrote it into config.json. Contract,
// cache shape, plan and report follow from it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/checked_json.hpp"

namespace kvcache::model {

enum class NormKind { layer_norm, rms_norm };

struct NormSpec {
  NormKind kind = NormKind::layer_norm;
  float epsilon = 1e-5F;
  bool bias = true;
};

/// Rotary position embedding (Su et al., 2021) of the first `dims` elements of queries and keys.
struct RotarySpec {
  std::size_t dims = 0;
  double base = 10000;
  bool interleaved = false;  // pairs are neighbours; else an element and that half of dims further
};

struct AttentionSpec {
  std::size_t num_heads = 0;     // of queries
  std::size_t num_kv_heads = 0;  // of keys and values: a divisor of num_heads
  std::size_t head_dim = 0;
  float scale = 1;  // of the scores q · k
  bool qkv_bias = false;
  bool output_bias = false;
  std::optional<RotarySpec> rotary;
  std::optional<std::size_t> window;  // tokens that a token sees, itself included; all without
  std::optional<float> soft_cap;      // of the scores: cap · tanh(score / cap)
  std::optional<NormSpec> qk_norm;    // of each head's query and key
};

struct MlpSpec {
  std::size_t inner_size = 0;
  std::string activation;  // "gelu_tanh", …
  bool gated = false;      // activation(x · gate) ⊙ (x · up) instead of activation(x · up)
  bool up_bias = false;
  bool down_bias = false;
};

/// x + attention(norm(x)), then the same with the feed-forward network; one kind of norm in both.
/// With a post_norm what is added to x is normed first.
struct LayerSpec {
  NormSpec norm;
  AttentionSpec attention;
  MlpSpec mlp;
  std::optional<NormSpec> post_norm{};
};

/// A number for each token whose logits are asked for: products of the final norm, each normed and
/// activated, and a last one with a function of its own.
struct ValueHeadSpec {
  std::vector<std::size_t> inner_sizes;
  std::optional<NormSpec> norm;
  std::string activation;
  std::string output_activation;
};

struct DecoderSpec {
  std::size_t hidden_size = 0;
  std::size_t vocab_size = 0;
  std::size_t max_seq_len = 0;
  float embedding_scale = 1;  // of a token's row
  bool learned_positions = false;
  std::vector<LayerSpec> layers;  // at least one; keys and values of all have one shape
  NormSpec final_norm;
  bool tied_head = false;  // the head's weight is the token embedding
  std::optional<float> logits_soft_cap;
  std::optional<ValueHeadSpec> value_head;
};

/// The field "spec" of config.json: every field, each within its range.
/// @throws Error(the document's code) naming the field, what it is and what it must be
DecoderSpec read_decoder_spec(const JsonValue& spec);

/// The most tokens that one sees in any layer, itself included; 0 where some layer sees all.
std::size_t largest_window(const DecoderSpec& spec) noexcept;

/// What of the model the library has no kernels for ("a gate of relu in layer 0"); empty where it
/// can run all of it.
std::string unsupported_part(const DecoderSpec& spec);

/// What of it there are no kernels for on CUDA ("heads of 512 elements, more than 256"), so that it
/// runs on the CPU; empty where there are.
std::string part_without_cuda(const DecoderSpec& spec);

}  // namespace kvcache::model
