// Matrix products with weights as the model file has them, of float32 or 16 bits; all arithmetic is
// float32.
#pragma once

#include <cstdint>

#include "base/parallel_for.hpp"
#include "kernels/activation.hpp"
#include "kernels/panels.hpp"

namespace kvcache::kernels {

/// out = activation(x · weight + bias) + residual, for weights of float, Float16 or BFloat16. Where
/// it is gated, out = activation(x · gate + bias) · (x · up + up's bias) + residual.
template <typename W>
struct LinearArgs {
  const float* x = nullptr;         // [tokens, inputs]
  const W* weight = nullptr;        // [panels, inputs, kPanelColumns]; gate and up take turns
  const float* bias = nullptr;      // [outputs]; gate's, then up's; null for none
  float* out = nullptr;             // [tokens, outputs]
  const float* residual = nullptr;  // [tokens, outputs], null for none
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;  // the last panel may have columns beyond
  Activation activation = Activation::none;
  bool gated = false;

  [[nodiscard]] std::int64_t matrices() const { return gated ? 2 : 1; }
};

/// For one token bound by reading the weights once, for many by arithmetic. The result does not
/// depend on the number of threads.
template <typename W>
void linear_cpu(const LinearArgs<W>& args, const ParallelFor& parallel_for);

/// out = x · weightᵀ, for the head, whose weight is the token embedding as it is.
template <typename W>
struct HeadArgs {
  const float* x = nullptr;   // [tokens, inputs]
  const W* weight = nullptr;  // [outputs, inputs]
  float* out = nullptr;       // [tokens, outputs]
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};

/// As linear_cpu, for a weight whose rows are the outputs.
template <typename W>
void head_cpu(const HeadArgs<W>& args, const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
