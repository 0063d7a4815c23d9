#include "kernels/cpu/product_cpu.hpp"

#include <type_traits>

#include "base/thread_scratch.hpp"
#include "kernels/cpu/bfloat16_cpu.hpp"
#include "kernels/cpu/soft_cap_cpu.hpp"

namespace kvcache::kernels {
namespace {

template <typename W>
void multiply_panels(const Product& product, const W* weight, const float* x, const ProductRun& run,
                     const ParallelFor& parallel_for) {
  const LinearArgs<W> args{.x = x,
                           .weight = weight,
                           .bias = product.bias,
                           .out = run.out,
                           .residual = run.residual,
                           .tokens = run.tokens,
                           .inputs = product.inputs,
                           .outputs = product.outputs,
                           .activation = product.activation,
                           .gated = product.gated};
  if constexpr (std::is_same_v<W, BFloat16>) {
    if (product.round_input == RoundInput::bfloat16) {
      bfloat16_linear_cpu(args, parallel_for, product.invariant);
      return;
    }
  }
  linear_cpu(args, parallel_for);
}

template <typename W>
void multiply_rows(const Product& product, const W* weight, const float* x, const ProductRun& run,
                   const ParallelFor& parallel_for) {
  const HeadArgs<W> args{.x = x,
                         .weight = weight,
                         .out = run.out,
                         .tokens = run.tokens,
                         .inputs = product.inputs,
                         .outputs = product.outputs};
  if constexpr (std::is_same_v<W, BFloat16>) {
    if (product.round_input == RoundInput::bfloat16) {
      bfloat16_head_cpu(args, parallel_for, product.invariant);
      return;
    }
  }
  head_cpu(args, parallel_for);
}

template <typename W>
void multiply(const Product& product, const W* weight, const float* x, const ProductRun& run,
              const ParallelFor& parallel_for) {
  if (product.order == WeightOrder::panels) {
    multiply_panels(product, weight, x, run, parallel_for);
  } else {
    multiply_rows(product, weight, x, run, parallel_for);
  }
}

void multiply(const Product& product, const QuantizedWeight& weight, const float* x,
              const ProductRun& run, const ParallelFor& parallel_for) {
  quantized_linear_cpu(
      {.x = x,
       .weight = weight,
       .bias = product.bias,
       .out = run.out,
       .residual = run.residual,
       .tokens = run.tokens,
       .activation = product.activation,
       .accuracy =
           product.round_input == RoundInput::int8 ? AccuracyLevel::int8 : AccuracyLevel::float32},
      parallel_for);
}

}  // namespace

std::span<const std::byte> weight_bytes(const Product& product) {
  const std::int64_t matrices = product.gated ? 2 : 1;
  const std::int64_t columns = product.order == WeightOrder::panels
                                   ? matrices * panel_count(product.outputs) * kPanelColumns
                                   : product.outputs;
  const auto bytes = [](const auto* data, std::int64_t count) {
    return std::as_bytes(std::span(data, static_cast<std::size_t>(count)));
  };
  return std::visit(
      [&]<typename W>(const W& weight) {
        if constexpr (std::is_same_v<W, QuantizedWeight>) {
          return bytes(weight.values, weight.panels() * weight.panel_bytes());
        } else {
          return bytes(weight, columns * product.inputs);
        }
      },
      product.weight);
}

void product_cpu(const Product& product, const ProductRun& run, const ParallelFor& parallel_for) {
  const float* x = run.x;
  if (product.norm_weight != nullptr) {
    float* const normed = thread_scratch(run.tokens * product.inputs, ScratchUse::normed);
    norm_cpu({.kind = product.norm_kind,
              .x = x,
              .weight = product.norm_weight,
              .bias = product.norm_bias,
              .out = normed,
              .selected = run.selected,
              .selected_count = run.selected_count,
              .batch_tokens = run.batch_tokens,
              .tokens = run.tokens,
              .size = product.inputs,
              .epsilon = product.epsilon},
             parallel_for.alone());
    x = normed;
  }
  ProductRun multiplied = run;
  if (product.post_norm_weight != nullptr) {
    multiplied.residual = nullptr;
  }
  std::visit([&](const auto& weight) { multiply(product, weight, x, multiplied, parallel_for); },
             product.weight);
  if (product.post_norm_weight != nullptr) {
    norm_cpu({.kind = NormKind::rms,
              .x = run.out,
              .weight = product.post_norm_weight,
              .residual = run.residual,
              .out = run.out,
              .tokens = run.tokens,
              .size = product.outputs,
              .epsilon = product.post_epsilon},
             parallel_for);
  }
  if (product.soft_cap > 0) {
    soft_cap_cpu(run.out, run.tokens * product.outputs, product.soft_cap, parallel_for);
  }
}

}  // namespace kvcache::kernels
