// A thread block per token: its norm in shared memory, then eight inputs a thread are rounded.
#include "base/rounding.hpp"
#include "kernels/cuda/norm_rows.cuh"
#include "kernels/cuda/quantized_tokens.cuh"
#include "kernels/cuda/quantized_tokens.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr std::size_t kMaxSharedBytes = std::size_t{200} << 10;

struct TokenArgs {
  const float* x;
  const std::int64_t* positions;
  NormArgs<float> norm;
  QuantizedColumns to;
  int inputs;
  int block_size;
  int zero_point;
};

/// Grid: tokens.
__global__ void __launch_bounds__(kThreads) quantize_tokens_kernel(TokenArgs args) {
  extern __shared__ float token[];  // [inputs]
  let_next_kernel_start();
  wait_for_previous_kernel();
  stage_rows<1>(
      args.x, args.norm, 1, args.inputs,
      [&](int) {
        return args.positions != nullptr ? args.positions[blockIdx.x] : std::int64_t{blockIdx.x};
      },
      token);
  const QuantizedColumns& to = args.to;
  const int lanes = args.block_size / 8;
  const std::int64_t first_column = std::int64_t{blockIdx.x} * to.levels;
  const int thread = static_cast<int>(threadIdx.x);
  for (int of_warp = thread / 32 * 256; of_warp < to.inputs; of_warp += kThreads * 8) {
    const int first = of_warp + thread % 32 * 8;
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x[i] = first + i < args.inputs ? token[first + i] : 0.0F;
    }
    round_to_levels(x, lanes, to.levels, [&](int level, const EightRounded& rounded, float scale) {
      const std::int64_t column = first_column + level;
      if (first < to.inputs) {
        *reinterpret_cast<uint2*>(to.values + column * to.inputs + first) = rounded.values;
      }
      const int block = first / args.block_size;
      if (first % args.block_size == 0 && block < to.block_count) {
        const int offset = args.zero_point == 0 ? rounded.sum : -args.zero_point * rounded.sum;
        to.blocks[std::int64_t{block} * to.block_stride + column] = {scale, offset};
      }
    });
  }
}

}  // namespace

QuantizedColumns quantized_columns(const QuantizedLinearCudaArgs& args, void* scratch,
                                   std::size_t& bytes) {
  const QuantizedWeight& weight = args.weight;
  QuantizedColumns columns;
  columns.levels = levels_of(args.accuracy);
  columns.inputs = static_cast<int>(round_up(weight.padded_inputs(), kStepInputs));
  columns.block_count = static_cast<int>(weight.blocks());
  const auto count = static_cast<std::size_t>(args.tokens * columns.levels);
  columns.block_stride = static_cast<int>(round_up(count, 2) + kMostColumnsAtOnce);
  const std::size_t value_bytes = round_up(count * static_cast<std::size_t>(columns.inputs), 16);
  bytes = value_bytes + static_cast<std::size_t>(columns.block_stride) *
                            static_cast<std::size_t>(columns.block_count) * sizeof(ColumnBlock);
  auto* const to = static_cast<std::byte*>(scratch);
  columns.values = reinterpret_cast<std::int8_t*>(to);
  columns.blocks = to == nullptr ? nullptr : reinterpret_cast<ColumnBlock*>(to + value_bytes);
  return columns;
}

cudaError_t quantize_tokens_cuda(const QuantizedLinearCudaArgs& args, const QuantizedColumns& to,
                                 cudaStream_t stream) {
  static const cudaError_t more_shared =
      cudaFuncSetAttribute(quantize_tokens_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(kMaxSharedBytes));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const TokenArgs of{args.x,
                     args.positions,
                     args.norm,
                     to,
                     static_cast<int>(args.weight.inputs),
                     static_cast<int>(args.weight.block_size),
                     args.weight.zero_point()};
  return launch(quantize_tokens_kernel, dim3(static_cast<unsigned>(args.tokens)), kThreads,
                static_cast<std::size_t>(args.weight.inputs) * sizeof(float), stream, of);
}

}  // namespace kvcache::kernels
