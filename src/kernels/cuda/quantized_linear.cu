// norm(x) · weight + bias, its activation or gate and the residual, for weights of 8 and 4 bits and
// tokens that a kernel before has rounded (quantized_tokens.cu). A few tokens are
// quantized_linear_few.cu's.
//
// A word of the weight, four inputs of an output side by side, is what a lane of the tensor cores'
// integer product holds, in the file's order; of 4 bits, its two halves are. So weights and tokens
// come from memory as the lanes hold them. The order of inputs and outputs within the instruction
// is ours: a lane's 16 bytes are four neighbouring outputs. A block's sums are exact; then they are
// multiplied with the scales, in float32.
//
// A thread block has 64 outputs, the two halves of a panel or 32 of a gate and its 32 others, and
// up to 32 columns; four warps share its inputs out, and so do the thread blocks of a cluster.
#include <algorithm>

#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/quantized_linear_few.hpp"
#include "kernels/cuda/quantized_steps.cuh"

namespace kvcache::kernels {
namespace {

using namespace quantized_steps;

constexpr int kFours = kOutputsOfWarp / 4;  // sums of a warp's outputs that are finished together

/// A thread block's sums in shared memory, [kShares, columns, kStride], and behind them what a
/// cluster's blocks send, [parts, fours of the block].
template <int kTiles>
struct Layout {
  static constexpr int kColumnCount = kTiles * kTile;
  static constexpr int kStride = kColumns + 4;  // of a column, without bank conflicts
  static constexpr int kShare = kColumnCount * kStride;
  static constexpr std::size_t kSums = sizeof(float) * kShares * kShare;
  static constexpr std::size_t bytes(int parts) {
    return kSums + (parts > 1 ? sizeof(float4) * kHalves * kFours * kColumnCount : 0);
  }
};
static_assert(Layout<kMostColumnsAtOnce / kTile>::bytes(2) <= std::size_t{48} << 10U);

/// What a thread block's two halves are.
struct Halves {
  bool are_matrices;  // a gate and what it opens, otherwise halves of a panel

  /// The panel of the weight that a half belongs to, and the first of its outputs there.
  __device__ int panel(int half) const {
    const auto block = static_cast<int>(blockIdx.x);
    return are_matrices ? block / kHalves * 2 + half : block;
  }
  __device__ int output(int half) const {
    return (are_matrices ? static_cast<int>(blockIdx.x) % kHalves : half) * kOutputsOfWarp;
  }
  /// The first of them in its matrix.
  __device__ int first_output(int half) const {
    return panel(half) / (are_matrices ? 2 : 1) * kColumns + output(half);
  }
};

/// The results of a token's four neighbouring outputs.
class Finish {
 public:
  __device__ Finish(const ProductArgs& args, Halves halves) : args_(args), halves_(halves) {}

  /// `sums`: of both halves.
  __device__ void operator()(int token, int four, const float4 (&sums)[kHalves]) const {
    if (halves_.are_matrices) {
      const int output = halves_.first_output(0) + four * 4;
      const float gates[4] = {sums[0].x, sums[0].y, sums[0].z, sums[0].w};
      const float others[4] = {sums[1].x, sums[1].y, sums[1].z, sums[1].w};
      for_outputs(
          output,
          [&](int i) {
            return activated(args_.activation, gates[i] + bias(output + i)) *
                   (others[i] + bias(args_.outputs + output + i));
          },
          token);
      return;
    }
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int output = halves_.first_output(half) + four * 4;
      const float values[4] = {sums[half].x, sums[half].y, sums[half].z, sums[half].w};
      for_outputs(
          output, [&](int i) { return activated(args_.activation, values[i] + bias(output + i)); },
          token);
    }
  }

 private:
  [[nodiscard]] __device__ float bias(std::int64_t output) const {
    return args_.bias != nullptr ? args_.bias[output] : 0.0F;
  }
  template <typename Result>
  __device__ void for_outputs(int output, const Result& result, int token) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (output + i < args_.outputs) {
        const std::int64_t at = token * args_.outputs + output + i;
        args_.out[at] = result(i) + (args_.residual != nullptr ? args_.residual[at] : 0.0F);
      }
    }
  }

  const ProductArgs& args_;
  Halves halves_;
};

/// Steps on their way: what registers have room for beside the sums, the scales and what is being
/// computed.
template <class K, int kTiles, Blocks kBlocks>
constexpr int kStepsAtOnce = [] {
  constexpr bool kOwnScales = kBlocks == Blocks::steps;
  constexpr int kOfScales = 2 * K::kScaleRows + 4 * kTiles;
  constexpr int kOfStep = 4 * K::kRows + 2 * kTiles + (kOwnScales ? kOfScales : 0);
  constexpr int kOfSums = kOwnScales ? 8 * kTiles : 16 * kTiles + kOfScales;
  constexpr int kRegisters = 100;
  return std::clamp((kRegisters - kOfSums) / kOfStep, 2, 8);
}();

/// Grid: 64 outputs, tokens_at_once tokens, parts of the inputs.
template <class K, int kTiles, Blocks kBlocks>
__global__ void __launch_bounds__(kThreads, 2)
    quantized_linear_kernel(const ProductArgs args, const Halves halves) {
  using Block = Layout<kTiles>;
  constexpr bool kOwnScales = kBlocks == Blocks::steps;
  constexpr int kAtOnce = kStepsAtOnce<K, kTiles, kBlocks>;
  extern __shared__ __align__(16) float sums_of_block[];
  __shared__ CopyBarrier sent;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = __shfl_sync(kAllLanes, thread / 32, 0);
  const int half = warp % kHalves;
  const int share = warp / kHalves;
  const int first_token = static_cast<int>(blockIdx.y) * args.tokens_at_once;
  const int tokens = min(args.tokens - first_token, args.tokens_at_once);
  const int items = tokens * kFours;

  let_next_kernel_start();
  const GatheredSums<kHalves> gathered(sent, items, args.parts_log2);
  const Part part(args.units, static_cast<int>(blockIdx.z), args.parts_log2);
  const Part own(part.count, share, kSharesLog2);
  const int first = (part.first + own.first) << args.unit_steps_log2;
  const int count = own.count << args.unit_steps_log2;
  const Source<K, kTiles, kBlocks> source(args, halves.panel(half), halves.output(half),
                                          first_token * args.columns.levels, lane);
  Step<K, kTiles> ring[kAtOnce];
  Scales<K, kTiles> scales[kOwnScales ? kAtOnce : 1];
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    if (i < count) {
      source.load_weights(first + i, ring[i]);
      if constexpr (kOwnScales) {
        source.load_scales(first + i, scales[i]);
      }
    }
  }
  wait_for_previous_kernel();
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    if (i < count) {
      source.load_columns(first + i, ring[i]);
      if constexpr (kOwnScales) {
        source.load_blocks(first + i, scales[i]);
      }
    }
  }
  Sums<K, kTiles> sums;
#pragma unroll 1
  for (int done = 0; done < count; done += kAtOnce) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (done + i < count) {
        const int step = first + done + i;
        const int next = step + kAtOnce;
        const bool has_next = done + i + kAtOnce < count;
        const auto load_block = [&](int block, Scales<K, kTiles>& to) {
          source.load_scales(block, to);
          source.load_blocks(block, to);
        };
        if constexpr (kBlocks == Blocks::steps) {
          sums.add_block(ring[i], scales[i]);
          if (has_next) {
            load_block(next, scales[i]);
          }
        } else if constexpr (kBlocks == Blocks::several_steps) {
          const bool begins = source.begins_block(step);
          if (begins) {
            load_block(source.block_of(step), scales[0]);
          }
          sums.add_step(ring[i], begins);
          if (source.ends_block(step)) {
            sums.end_block(scales[0]);
          }
        } else {  // each half with the other's inputs as zeros; few models have such blocks
          for (int block = 0; block < 2; ++block) {
            if (source.block_of(step) + block < args.columns.block_count) {
              load_block(source.block_of(step) + block, scales[0]);
              Step<K, kTiles> one = ring[i];
#pragma unroll
              for (uint2& column : one.columns) {
                column = lane % 4 / 2 == block ? column : uint2{0, 0};
              }
              sums.add_block(one, scales[0]);
            }
          }
        }
        if (has_next) {
          source.load_weights(next, ring[i]);
          source.load_columns(next, ring[i]);
        }
      }
    }
  }
  sums.store(sums_of_block + share * Block::kShare + half * kOutputsOfWarp, Block::kStride, lane);
  if (gathered.are_parts()) {
    wait_for_cluster();
  }
  __syncthreads();

  // Of a token and four outputs of a half: the sum of all warps and levels.
  const auto sum_of_block = [&](int item, int of_half) {
    const int levels = args.columns.levels;
    const float* at = sums_of_block + item / kFours * levels * Block::kStride +
                      of_half * kOutputsOfWarp + item % kFours * 4;
    float4 sum{};
    for (int level = 0; level < levels; ++level, at += Block::kStride) {
#pragma unroll
      for (int i = 0; i < kShares; ++i) {
        sum = sum + *reinterpret_cast<const float4*>(at + i * Block::kShare);
      }
    }
    return sum;
  };
  const Finish finish(args, halves);
  if (!gathered.are_parts()) {
    for (int item = thread; item < items; item += kThreads) {
      const float4 both[kHalves] = {sum_of_block(item, 0), sum_of_block(item, 1)};
      finish(first_token + item / kFours, item % kFours, both);
    }
    return;
  }
  auto* const memory = reinterpret_cast<float4*>(sums_of_block + Block::kSums / sizeof(float));
  for (int i = thread; i < items * kHalves; i += kThreads) {
    gathered.send(memory, i / kHalves, i % kHalves, sum_of_block(i / kHalves, i % kHalves));
  }
  gathered.wait();
  for (int own = thread; own < gathered.own_items(); own += kThreads) {
    float4 both[kHalves];
    gathered.add_up(memory, own, both);
    const int item = gathered.item(own);
    finish(first_token + item / kFours, item % kFours, both);
  }
}

template <class K, int kTiles, Blocks kBlocks>
cudaError_t launch_tiles(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                         int multiprocessors, cudaStream_t stream) {
  constexpr int kMostPartsLog2 = std::countr_zero(static_cast<unsigned>(kMaxCluster));
  constexpr int kMostTiles = 65535;  // of a grid
  ProductArgs product = product_args(args, columns);
  const int at_once = kTiles * kTile / columns.levels;
  product.tokens_at_once = columns.levels == 1 ? at_once : at_once / 2 * 2;  // columns in pairs
  const int tiles = divide_up(product.tokens, product.tokens_at_once);
  if (tiles > kMostTiles) {
    return cudaErrorInvalidValue;
  }
  const auto panels = static_cast<int>(args.weight.panels());
  product.parts_log2 = choose_parts_log2(std::int64_t{panels} * tiles, product.units,
                                         multiprocessors + multiprocessors / 2, kMostPartsLog2);
  const int parts = 1 << product.parts_log2;
  const dim3 grid(static_cast<unsigned>(panels), static_cast<unsigned>(tiles),
                  static_cast<unsigned>(parts));
  if (const cudaError_t error = quantize_tokens_cuda(args, columns, stream); error != cudaSuccess) {
    return error;
  }
  return launch(quantized_linear_kernel<K, kTiles, kBlocks>, grid, kThreads,
                Layout<kTiles>::bytes(parts), stream, product, Halves{args.weight.matrices == 2});
}

template <class K, Blocks kBlocks>
cudaError_t launch_columns(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                           int multiprocessors, cudaStream_t stream) {
  const std::int64_t count = args.tokens * columns.levels;
  if constexpr (kBlocks != Blocks::half_steps) {  // these few models have
    if (count > kTile) {
      return count <= 2 * kTile
                 ? launch_tiles<K, 2, kBlocks>(args, columns, multiprocessors, stream)
                 : launch_tiles<K, 4, kBlocks>(args, columns, multiprocessors, stream);
    }
  }
  return launch_tiles<K, 1, kBlocks>(args, columns, multiprocessors, stream);
}

template <class K>
cudaError_t launch_blocks(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                          int multiprocessors, cudaStream_t stream) {
  const std::int64_t size = args.weight.block_size;
  const auto launch_as = size < kStepInputs    ? launch_columns<K, Blocks::half_steps>
                         : size == kStepInputs ? launch_columns<K, Blocks::steps>
                                               : launch_columns<K, Blocks::several_steps>;
  return launch_as(args, columns, multiprocessors, stream);
}

}  // namespace

std::size_t quantized_linear_scratch(const QuantizedLinearCudaArgs& args) {
  std::size_t bytes = 0;
  quantized_columns(args, nullptr, bytes);
  return bytes;
}

cudaError_t quantized_linear_cuda(const QuantizedLinearCudaArgs& args, void* scratch,
                                  int multiprocessors, cudaStream_t stream) {
  if (args.tokens == 0) {
    return cudaSuccess;
  }
  std::size_t bytes = 0;
  const QuantizedColumns columns = quantized_columns(args, scratch, bytes);
  if (quantized_few_fit(args)) {
    return quantized_linear_few(args, columns, multiprocessors, stream);
  }
  return with_kind(args.weight, [&](auto kind) {
    return launch_blocks<decltype(kind)>(args, columns, multiprocessors, stream);
  });
}

}  // namespace kvcache::kernels
