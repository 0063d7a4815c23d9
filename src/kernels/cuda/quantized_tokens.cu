// A thread block per token: its norm, in registers or shared memory, then eight inputs a thread are
// rounded.
#include "base/rounding.hpp"
#include "kernels/cuda/norm_rows.cuh"
#include "kernels/cuda/quantized_tokens.cuh"
#include "kernels/cuda/quantized_tokens.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;

struct TokenArgs {
  const float* x;
  const std::int64_t* positions;
  NormArgs<float> norm;
  QuantizedColumns to;
  int inputs;
  int block_size;
  int zero_point;
};

/// Rounds a lane's eight inputs from `first` on; all of the warp take part.
__device__ void round_inputs(const TokenArgs& args, int first, float (&x)[8]) {
  const QuantizedColumns& to = args.to;
  const std::int64_t first_column = std::int64_t{blockIdx.x} * to.levels;
  round_to_levels(
      x, args.block_size / 8, to.levels, [&](int level, const EightRounded& rounded, float scale) {
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

__device__ std::int64_t row_of_token(const TokenArgs& args) {
  return args.positions != nullptr ? args.positions[blockIdx.x] : std::int64_t{blockIdx.x};
}

constexpr int kLotInputs = 8 * kThreads;  // a thread's eight each

__device__ void load_eight(const float* from, float (&to)[8]) {
  *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(from);
  *reinterpret_cast<float4*>(to + 4) = *reinterpret_cast<const float4*>(from + 4);
}

/// Grid: tokens. Of inputs that are whole eights, in up to kLots lots.
template <int kLots>
__global__ void __launch_bounds__(kThreads) quantize_tokens_kernel(TokenArgs args) {
  __shared__ float sums[kThreads / 32];
  __shared__ float squares[kThreads / 32];
  let_next_kernel_start();
  const auto first_of = [](int lot) {
    return lot * kLotInputs + static_cast<int>(threadIdx.x) * 8;
  };
  const auto exists = [&](int lot) { return first_of(lot) < args.inputs; };
  const bool has_norm = args.norm.weight != nullptr;
  float x[kLots][8] = {};
  float weights[kLots][8];
  float biases[kLots][8] = {};
#pragma unroll
  for (int lot = 0; lot < kLots; ++lot) {
    if (has_norm && exists(lot)) {
      load_eight(args.norm.weight + first_of(lot), weights[lot]);
      if (args.norm.bias != nullptr) {
        load_eight(args.norm.bias + first_of(lot), biases[lot]);
      }
    }
  }
  wait_for_previous_kernel();
  const float* const row = args.x + row_of_token(args) * args.inputs;
#pragma unroll
  for (int lot = 0; lot < kLots; ++lot) {
    if (exists(lot)) {
      load_eight(row + first_of(lot), x[lot]);
    }
  }
  if (has_norm) {  // two passes: the mean, then the squares about it
    const auto count = static_cast<float>(args.inputs);
    const auto sum_up = [&](auto term, float(&of_warps)[kThreads / 32]) {
      float sum = 0;
#pragma unroll
      for (int lot = 0; lot < kLots; ++lot) {
        if (exists(lot)) {
#pragma unroll
          for (const float value : x[lot]) {
            sum += term(value);
          }
        }
      }
      return sum_of_block(sum, of_warps);
    };
    const float mean =
        args.norm.is_rms ? 0.0F : sum_up([](float value) { return value; }, sums) / count;
    const float square =
        sum_up([&](float value) { return (value - mean) * (value - mean); }, squares);
    const float scale = rsqrtf(square / count + args.norm.epsilon);
#pragma unroll
    for (int lot = 0; lot < kLots; ++lot) {
      if (exists(lot)) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          x[lot][i] = (x[lot][i] - mean) * scale * weights[lot][i] + biases[lot][i];
        }
      }
    }
  }
#pragma unroll
  for (int lot = 0; lot < kLots; ++lot) {
    if (lot * kLotInputs < args.to.inputs) {  // the same for all lanes
      round_inputs(args, first_of(lot), x[lot]);
    }
  }
}

/// The same of any inputs, through shared memory.
__global__ void __launch_bounds__(kThreads) quantize_any_tokens_kernel(TokenArgs args) {
  extern __shared__ float token[];  // [inputs]
  let_next_kernel_start();
  wait_for_previous_kernel();
  stage_rows<1>(
      args.x, args.norm, 1, args.inputs, [&](int) { return row_of_token(args); }, token);
  const int thread = static_cast<int>(threadIdx.x);
  for (int of_warp = thread / 32 * 256; of_warp < args.to.inputs; of_warp += kLotInputs) {
    const int first = of_warp + thread % 32 * 8;
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x[i] = first + i < args.inputs ? token[first + i] : 0.0F;
    }
    round_inputs(args, first, x);
  }
}

}  // namespace

bool loads_vectors(const QuantizedLinearCudaArgs& args) {
  const auto is_aligned = [](const float* vector) {
    return reinterpret_cast<std::uintptr_t>(vector) % sizeof(float4) == 0;
  };
  return args.weight.inputs % 8 == 0 && is_aligned(args.x) && is_aligned(args.norm.weight) &&
         is_aligned(args.norm.bias);
}

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
  const TokenArgs of{args.x,
                     args.positions,
                     args.norm,
                     to,
                     static_cast<int>(args.weight.inputs),
                     static_cast<int>(args.weight.block_size),
                     args.weight.zero_point()};
  const dim3 grid(static_cast<unsigned>(args.tokens));
  if (const int lots = divide_up(to.inputs, kLotInputs); loads_vectors(args) && lots <= 4) {
    const auto kernel = lots == 1   ? quantize_tokens_kernel<1>
                        : lots == 2 ? quantize_tokens_kernel<2>
                                    : quantize_tokens_kernel<4>;
    return launch(kernel, grid, kThreads, 0, stream, of);
  }
  static const cudaError_t more_shared =
      cudaFuncSetAttribute(quantize_any_tokens_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  return launch(quantize_any_tokens_kernel, grid, kThreads,
                static_cast<std::size_t>(args.weight.inputs) * sizeof(float), stream, of);
}

}  // namespace kvcache::kernels
