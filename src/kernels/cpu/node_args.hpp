// What the nodes of a run on the CPU are told to do, and the doing of it.
#pragma once

#include <cstdint>

#include "base/parallel_for.hpp"
#include "kernels/cpu/layer_norm_cpu.hpp"
#include "kernels/cpu/linear_cpu.hpp"
#include "kernels/cpu/quantized_cpu.hpp"

namespace kvcache::kernels {

/// out[i] = row input_ids[i] of the tokens' table + position_weight[position_ids[i]]. The table is
/// [vocab_size, size] of a W, or a quantised weight whose outputs are the rows.
template <typename W>
struct TokenEmbeddingArgs {
  const std::int64_t* input_ids = nullptr;     // [tokens]
  const std::int64_t* position_ids = nullptr;  // [tokens]
  W table{};
  const float* position_weight = nullptr;  // [max_seq_len, size]
  float* out = nullptr;                    // [tokens, size]
  std::int64_t tokens = 0;
  std::int64_t size = 0;
};

/// What a weight is multiplied with: x, or, where the weight is bfloat16, x rounded to that.
enum class Multiplied { as_is, as_bfloat16 };

/// A product (LinearArgs, QuantizedLinearArgs or HeadArgs), of the layer norm of its x where there
/// is one: product.x is then not used.
template <typename Product>
struct NormedProduct {
  LayerNormArgs norm;  // null weight: none; `out` is not used
  Product product;
  Multiplied x = Multiplied::as_is;
};

template <typename W>
void run_node(const TokenEmbeddingArgs<W>& node, const ParallelFor& parallel_for);

/// Normed tokens go to memory of the calling thread.
template <typename Product>
void run_node(const NormedProduct<Product>& node, const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
