// Matrix products with weights, read from the mapped model file as they lie there.
#pragma once

#include <cstdint>

#include "ops/parallel_for.hpp"

namespace kvcache::ops {

/// Columns of a panel of packed weights (docs/MODEL_FILE.md).
inline constexpr std::int64_t kPanelColumns = 64;

enum class Activation { none, gelu };

/// out = activation(x · weight + bias).
struct LinearArgs {
  const float* x = nullptr;       // [tokens, inputs]
  const float* weight = nullptr;  // [panels, inputs, kPanelColumns]
  const float* bias = nullptr;    // [outputs]
  float* out = nullptr;           // [tokens, outputs]
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;  // the last panel may have columns beyond
  Activation activation = Activation::none;
};

/// For one token bound by reading the weights once, for many by arithmetic. The result does not
/// depend on the number of threads.
void linear_cpu(const LinearArgs& args, const ParallelFor& parallel_for);

/// out = x · weightᵀ, for the head, whose weight is the token embedding as it is.
struct HeadArgs {
  const float* x = nullptr;       // [tokens, inputs]
  const float* weight = nullptr;  // [outputs, inputs]
  float* out = nullptr;           // [tokens, outputs]
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};

/// As linear_cpu, for a weight whose rows are the outputs.
void head_cpu(const HeadArgs& args, const ParallelFor& parallel_for);

}  // namespace kvcache::ops
