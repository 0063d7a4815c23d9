// Tokens as the products with quantised weights take them: rounded to integers of 8 bits, block by
// block.
#pragma once

#include "kernels/cuda/quantized_linear_cuda.hpp"

namespace kvcache::kernels {

/// Columns of the product that are one token. With float32 accuracy what rounding took is rounded
/// again, and once more: each has 1 / 254 of the scale before.
constexpr int kMaxLevels = 3;
constexpr int levels_of(AccuracyLevel accuracy) {
  return accuracy == AccuracyLevel::int8 ? 1 : kMaxLevels;
}

constexpr int kStepInputs = 32;         // that a matrix instruction multiplies
constexpr int kMostColumnsAtOnce = 32;  // that a thread block multiplies

/// A column's block: what its integers are multiplied with, and what is added to their products
/// with a weight's values before: less the zero point times their sum; with minimums, which are
/// multiplied with it, their sum.
struct alignas(8) ColumnBlock {
  float scale;
  int offset;
};

/// Columns [tokens · levels, inputs], inputs filled up with zeros to whole steps, and their blocks
/// [block_count, block_stride].
struct QuantizedColumns {
  std::int8_t* values = nullptr;
  ColumnBlock* blocks = nullptr;
  int inputs = 0;        // in steps
  int block_count = 0;   // of a column
  int block_stride = 0;  // more than there are columns: whole tiles may be read from any on
  int levels = 0;        // columns of a token
};

/// Whether a thread can load eight neighbouring inputs, and of the norm, as vectors.
bool loads_vectors(const QuantizedLinearCudaArgs& args);

/// The product's columns in `scratch`, which may be null, and how many bytes they take.
QuantizedColumns quantized_columns(const QuantizedLinearCudaArgs& args, void* scratch,
                                   std::size_t& bytes);

/// Norms and rounds the tokens to `to`.
cudaError_t quantize_tokens_cuda(const QuantizedLinearCudaArgs& args, const QuantizedColumns& to,
                                 cudaStream_t stream);

}  // namespace kvcache::kernels
