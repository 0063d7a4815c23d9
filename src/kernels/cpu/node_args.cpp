#include "kernels/cpu/node_args.hpp"

#include <algorithm>
#include <functional>
#include <type_traits>

#include "base/float16.hpp"
#include "base/thread_scratch.hpp"
#include "kernels/cpu/bfloat16_cpu.hpp"

namespace kvcache::kernels {
namespace {

template <typename W>
void token_row(const W* table, std::int64_t size, std::int64_t id, float* out) {
  std::transform(table + id * size, table + (id + 1) * size, out,
                 [](W value) { return static_cast<float>(value); });
}
void token_row(const QuantizedWeight& table, std::int64_t /*size*/, std::int64_t id, float* out) {
  quantized_row_cpu(table, id, out);
}

template <typename W>
void multiply(const LinearArgs<W>& args, Multiplied x, const ParallelFor& parallel_for) {
  if constexpr (std::is_same_v<W, BFloat16>) {
    if (x == Multiplied::as_bfloat16) {
      bfloat16_linear_cpu(args, parallel_for);
      return;
    }
  }
  linear_cpu(args, parallel_for);
}
template <typename W>
void multiply(const HeadArgs<W>& args, Multiplied x, const ParallelFor& parallel_for) {
  if constexpr (std::is_same_v<W, BFloat16>) {
    if (x == Multiplied::as_bfloat16) {
      bfloat16_head_cpu(args, parallel_for);
      return;
    }
  }
  head_cpu(args, parallel_for);
}
void multiply(const QuantizedLinearArgs& args, Multiplied /*x*/, const ParallelFor& parallel_for) {
  quantized_linear_cpu(args, parallel_for);
}

}  // namespace

template <typename W>
void run_node(const TokenEmbeddingArgs<W>& node, const ParallelFor& parallel_for) {
  constexpr std::int64_t kAtATime = 16;
  parallel_for((node.tokens + kAtATime - 1) / kAtATime, [&](std::int64_t part) {
    const std::int64_t end = std::min((part + 1) * kAtATime, node.tokens);
    for (std::int64_t token = part * kAtATime; token < end; ++token) {
      float* const out = node.out + token * node.size;
      token_row(node.table, node.size, node.input_ids[token], out);
      const float* const position = node.position_weight + node.position_ids[token] * node.size;
      std::transform(out, out + node.size, position, out, std::plus<>());
    }
  });
}

template <typename Product>
void run_node(const NormedProduct<Product>& node, const ParallelFor& parallel_for) {
  Product product = node.product;
  if (node.norm.weight != nullptr) {
    LayerNormArgs norm = node.norm;
    norm.out = thread_scratch(norm.tokens * norm.size, ScratchUse::normed);
    layer_norm_cpu(norm, parallel_for.alone());
    product.x = norm.out;
  }
  multiply(product, node.x, parallel_for);
}

template void run_node(const TokenEmbeddingArgs<const float*>&, const ParallelFor&);
template void run_node(const TokenEmbeddingArgs<const Float16*>&, const ParallelFor&);
template void run_node(const TokenEmbeddingArgs<const BFloat16*>&, const ParallelFor&);
template void run_node(const TokenEmbeddingArgs<QuantizedWeight>&, const ParallelFor&);
template void run_node(const NormedProduct<LinearArgs<float>>&, const ParallelFor&);
template void run_node(const NormedProduct<LinearArgs<Float16>>&, const ParallelFor&);
template void run_node(const NormedProduct<LinearArgs<BFloat16>>&, const ParallelFor&);
template void run_node(const NormedProduct<HeadArgs<float>>&, const ParallelFor&);
template void run_node(const NormedProduct<HeadArgs<Float16>>&, const ParallelFor&);
template void run_node(const NormedProduct<HeadArgs<BFloat16>>&, const ParallelFor&);
template void run_node(const NormedProduct<QuantizedLinearArgs>&, const ParallelFor&);

}  // namespace kvcache::kernels
