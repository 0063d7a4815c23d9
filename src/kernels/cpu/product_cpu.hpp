// A product of the model with one of its weights, and what surrounds it: norm, bias, activation,
// residual. Between two products of one token lies so little work that kernels of its own would
// cost more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

#include "base/float16.hpp"
#include "base/parallel_for.hpp"
#include "kernels/cpu/linear_cpu.hpp"
#include "kernels/cpu/norm_cpu.hpp"
#include "kernels/cpu/quantized_cpu.hpp"

namespace kvcache::kernels {

/// A matrix [inputs, outputs] as the model file has it: float32 or 16 bits, in the order that its
/// user knows, or quantised.
using WeightMatrix = std::variant<const float*, const Float16*, const BFloat16*, QuantizedWeight>;

/// How a weight that is not quantised lies in memory.
enum class WeightOrder {
  panels,  // [panel_count(outputs), inputs, kPanelColumns]
  rows     // [outputs, inputs]: the token embedding, and a head
};

/// What x is rounded to before it is multiplied. Rounding to bfloat16 is for weights of bfloat16,
/// to int8 (by blocks) for quantised ones.
enum class RoundInput { none, bfloat16, int8 };

/// y = activation(norm(x) · weight + bias) + residual, where it is gated as LinearArgs; with a post
/// norm, an rms norm of what the residual is added to; with a soft cap, soft_cap · tanh(y /
/// soft_cap) at last. What of it is the same in every run.
struct Product {
  WeightMatrix weight;
  WeightOrder order = WeightOrder::panels;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  const float* bias = nullptr;         // [outputs], gated [2 · outputs]; null for none
  const float* norm_weight = nullptr;  // [inputs], null for no norm
  const float* norm_bias = nullptr;    // [inputs], null for none
  NormKind norm_kind = NormKind::layer;
  float epsilon = 0;  // of the norm
  Activation activation = Activation::none;
  const float* post_norm_weight = nullptr;  // [outputs], null for none
  float post_epsilon = 0;
  bool gated = false;  // in the order of panels: gate and up take turns
  float soft_cap = 0;  // 0 for none
  RoundInput round_input = RoundInput::none;
  bool invariant = false;  // a token's bits must not depend on how many tokens there are: bfloat16
};

/// And what is not.
struct ProductRun {
  const float* x = nullptr;                // [tokens, inputs], or more of which some are selected
  const std::int64_t* selected = nullptr;  // [selected_count], of each batch entry; null: all
  std::int64_t selected_count = 0;
  std::int64_t batch_tokens = 0;    // of a batch entry of x; used with `selected`
  const float* residual = nullptr;  // [tokens, outputs], null for none
  float* out = nullptr;             // [tokens, outputs]
  std::int64_t tokens = 0;
};

/// Where the weight lies.
std::span<const std::byte> weight_bytes(const Product& product);

/// A product without a norm takes all tokens: none may be selected. Normed tokens go to memory of
/// the calling thread.
void product_cpu(const Product& product, const ProductRun& run, const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
