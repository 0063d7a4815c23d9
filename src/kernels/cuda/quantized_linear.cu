// norm(x) · weight + bias, its activation or gate and the residual, for weights of 8 and 4 bits.
//
// A word of the weight, four inputs of an output side by side, is what a lane of the tensor cores'
// integer product holds, in the file's order; of 4 bits, its two halves are. So a lane brings its
// own words and scales to shared memory, a ring of them ahead of their use and of the kernel
// before, and nobody waits for anybody but for x. The order of inputs and outputs within the
// instruction is ours: a lane's 16 bytes are four neighbouring outputs. A block's sums are exact;
// then they are multiplied with the scales, in float32.
//
// A thread block has its part of the tokens' inputs, rounded by a kernel before, in shared memory.
// A few tokens are quantized_linear_few.cu's.
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/quantized_linear_few.hpp"
#include "kernels/cuda/quantized_product.cuh"

namespace kvcache::kernels {
namespace {

using namespace quantized;

constexpr int kTile = 8;  // columns of the matrix instruction
constexpr int kMaxTiles = 4;
constexpr int kMostPartsLog2 = std::countr_zero(static_cast<unsigned>(kMaxCluster));

/// A lane's weights of one step, 32 inputs of its warp's 32 outputs.
template <class K>
struct Step {
  uint4 words[K::kRows];        // of four outputs each
  uint2 scales[K::kScaleRows];  // of the same four, and their minimums
};

/// Steps of a warp that are on their way.
template <class K, int kMatrices>
struct Ring {
  static constexpr int kWordBytes = 32 * 16 * K::kRows * kMatrices;
  static constexpr int kScaleBytes = 32 * 8 * K::kScaleRows * kMatrices;
  static constexpr int kFitting = (40 << 10) / kWarps / (kWordBytes + kScaleBytes);
  static constexpr int kStages = kFitting < 3 ? 3 : kFitting > 8 ? 8 : kFitting;

  uint4 words[kStages][kMatrices][K::kRows][32];
  uint2 scales[kStages][kMatrices][K::kScaleRows][32];
};

/// Shared memory of a thread block behind the warps' rings, in this order: columns of its part of
/// the inputs [columns, stride], their blocks [blocks, kAllColumns], sums of its warps
/// [kShares, kMatrices, kAllColumns, 64], and twice what the cluster's blocks send to it for its
/// share of the outputs, [parts, kMatrices, kAllColumns, 64 / parts].
template <int kMostColumns, int kMatrices>
struct SharedLayout {
  int columns;
  int stride;  // bytes from one column to the next: eight of them lie in different banks
  int sums_at;

  static constexpr int kAllColumns = kMostColumns;
  static constexpr int kSums = kMatrices * kAllColumns * kColumns;

  __host__ __device__ SharedLayout(int inputs, int block_size, int column_count)
      : columns(column_count),
        stride((inputs + 127) / 128 * 128 + 32),
        sums_at(columns * stride +
                inputs / block_size * kAllColumns * static_cast<int>(sizeof(ColumnBlock))) {}
  [[nodiscard]] __host__ __device__ int blocks_at() const { return columns * stride; }
  [[nodiscard]] __host__ __device__ int gathered_at() const {
    return sums_at + kShares * kSums * static_cast<int>(sizeof(float));
  }
  [[nodiscard]] __host__ __device__ int bytes() const {
    return gathered_at() + 2 * kSums * static_cast<int>(sizeof(float));
  }
};

/// 8 bytes to shared memory, on their way.
__device__ inline void bring(uint2* to, const __half* from) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(address), "l"(from) : "memory");
}

/// Four neighbouring numbers of 16 bits.
struct Four {
  float of[4];

  __device__ explicit Four(uint2 halves) {
    const float2 first = __half22float2(*reinterpret_cast<const __half2*>(&halves.x));
    const float2 second = __half22float2(*reinterpret_cast<const __half2*>(&halves.y));
    of[0] = first.x;
    of[1] = first.y;
    of[2] = second.x;
    of[3] = second.y;
  }
};

/// sums += a block's products by its scales; `two` are the lane's columns.
template <class K>
__device__ void add_products(const int (&products)[2][4], const Step<K>& weights,
                             const ColumnBlock (&two)[2], float (&sums)[2][4]) {
  const Four scale(weights.scales[0]);
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const ColumnBlock& column = two[i % 2];
      const int output = 2 * pair + i / 2;
      float& sum = sums[pair][i];
      if constexpr (K::kMinimums) {
        const Four minimum(weights.scales[K::kScaleRows - 1]);
        sum = fmaf(static_cast<float>(products[pair][i]) * column.scale, scale.of[output], sum);
        sum = fmaf(static_cast<float>(column.offset) * column.scale, minimum.of[output], sum);
      } else {
        sum = fmaf(static_cast<float>(products[pair][i] + column.offset) * column.scale,
                   scale.of[output], sum);
      }
    }
  }
}

/// A warp's way through the panels of its cluster: `load` runs ahead.
template <class K, int kMatrices, Blocks kBlocks>
class Weights {
 public:
  /// `first` of the panel's units, `count` of them; `panels` of the cluster.
  __device__ Weights(const ProductArgs& args, int half, int first, int count, int panels, int lane,
                     Ring<K, kMatrices>& ring)
      : args_(args),
        ring_(ring),
        lane_(lane),
        steps_of_unit_(kBlocks == Blocks::several_steps ? args.unit_inputs / kStepInputs : 1),
        steps_(count * steps_of_unit_),
        panels_(count > 0 ? panels : 0),
        steps_left_(steps_),
        unit_left_(steps_of_unit_),
        row_((first * steps_of_unit_ * 4 + lane % 4) * K::kRows) {
    const std::int64_t panel = std::int64_t{blockIdx.x} * kMatrices;
    values_ = args.values + panel * args.panel_bytes + std::int64_t{row_} * kRowBytes +
              half * (kRowBytes / kHalves) + lane / 4 * 16;
    scales_ = args.scales + panel * args.panel_scales +
              first * kBlocksOfUnit * K::kScaleRows * kColumns + half * kOutputsOfWarp +
              lane / 4 * 4;
    const std::int64_t panels_on = std::int64_t{gridDim.x} * kMatrices;
    next_values_ = panels_on * args.panel_bytes - std::int64_t{steps_} * kStepBytes;
    next_scales_ = panels_on * args.panel_scales - count * kBlocksOfUnit * K::kScaleRows * kColumns;
  }

  /// The next step to its stage, if there is one.
  __device__ void load() {
    if (panels_ > 0) {
      const bool ends_unit = kBlocks != Blocks::several_steps || unit_left_ == 1;
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int i = 0; i < K::kRows; ++i) {
          // Where a block is half a step, the last half may be none of the panel's.
          const bool exists = kBlocks != Blocks::half_steps || row_ + i < args_.rows;
          copy_or_clear(&ring_.words[stage_][m][i][lane_],
                        exists ? values_ + m * args_.panel_bytes + i * kRowBytes : args_.values,
                        exists);
        }
        if (ends_unit) {
#pragma unroll
          for (int i = 0; i < K::kScaleRows; ++i) {
            bring(&ring_.scales[stage_][m][i][lane_],
                  scales_ + m * args_.panel_scales + i * kColumns);
          }
        }
      }
      values_ += kStepBytes;
      row_ += 4 * K::kRows;
      unit_left_ = ends_unit ? steps_of_unit_ : unit_left_ - 1;
      scales_ += ends_unit ? kBlocksOfUnit * K::kScaleRows * kColumns : 0;
      if (--steps_left_ == 0) {
        steps_left_ = steps_;
        --panels_;
        values_ += next_values_;
        scales_ += next_scales_;
        row_ -= steps_ * 4 * K::kRows;
      }
    }
    commit_copies();
    stage_ = stage_ + 1 == kStages ? 0 : stage_ + 1;
  }

  /// The step loaded longest ago; `load` may be called when it has been used.
  __device__ void take(Step<K> (&to)[kMatrices]) const {
    wait_for_copies_but<kStages - 1>();
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int i = 0; i < K::kRows; ++i) {
        to[m].words[i] = ring_.words[stage_][m][i][lane_];
      }
#pragma unroll
      for (int i = 0; i < K::kScaleRows; ++i) {
        to[m].scales[i] = ring_.scales[stage_][m][i][lane_];
      }
    }
  }

  /// The scales of the second block of a step, which are read where they are needed: few models
  /// have such blocks.
  __device__ void take_second_scales(int panel, int block, int half,
                                     Step<K> (&to)[kMatrices]) const {
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      const __half* scales = args_.scales +
                             (std::int64_t{panel} * kMatrices + m) * args_.panel_scales +
                             half * kOutputsOfWarp + lane_ / 4 * 4;
#pragma unroll
      for (int i = 0; i < K::kScaleRows; ++i) {
        to[m].scales[i] =
            *reinterpret_cast<const uint2*>(scales + (block * K::kScaleRows + i) * kColumns);
      }
    }
  }

 private:
  static constexpr int kStages = Ring<K, kMatrices>::kStages;
  static constexpr int kStepBytes = 4 * K::kRows * kRowBytes;
  static constexpr int kBlocksOfUnit = kBlocks == Blocks::half_steps ? 2 : 1;

  const ProductArgs& args_;
  Ring<K, kMatrices>& ring_;
  int lane_;
  int steps_of_unit_;
  int steps_;  // of a panel
  int panels_;
  int steps_left_;
  int unit_left_;
  int row_;
  int stage_ = 0;
  const std::uint8_t* values_ = nullptr;
  const __half* scales_ = nullptr;
  std::int64_t next_values_ = 0;  // from the end of a panel's steps to the next panel's
  std::int64_t next_scales_ = 0;
};

/// Brings the thread block's part of columns that have been rounded already to shared memory.
template <class Layout>
__device__ void copy_columns(const ProductArgs& args, const Layout& layout, int first, int count,
                             std::int64_t first_column, std::byte* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  const int vectors = count / 16;
  for (int i = thread; i < layout.columns * vectors; i += kThreads) {
    const int column = i / vectors;
    const int input = i % vectors * 16;
    *reinterpret_cast<uint4*>(shared + column * layout.stride + input) =
        *reinterpret_cast<const uint4*>(
            args.columns.values + (first_column + column) * args.columns.inputs + first + input);
  }
  auto* const to = reinterpret_cast<ColumnBlock*>(shared + layout.blocks_at());
  const int first_block = first / args.block_size;
  const int blocks = min(count / args.block_size, args.columns.block_count - first_block);
  for (int i = thread; i < layout.columns * blocks; i += kThreads) {
    const int column = i / blocks;
    const int block = i % blocks;
    to[block * Layout::kAllColumns + column] =
        args.columns
            .blocks[(first_column + column) * args.columns.block_count + first_block + block];
  }
}

/// Sums of a warp: of 16 outputs and 8 columns a matrix instruction.
template <int kTiles, int kMatrices>
using Sums = float[kMatrices][kTiles][2][4];

/// What is added to a thread's first result of a panel, read ahead.
template <int kMatrices>
struct Added {
  float bias[kMatrices] = {};
  float residual = 0;

  __device__ void load(const ProductArgs& args, std::int64_t token, std::int64_t output) {
    if (output < args.outputs) {
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
        bias[m] = args.bias != nullptr ? args.bias[m * args.outputs + output] : 0.0F;
      }
      residual = args.residual != nullptr ? args.residual[token * args.outputs + output] : 0.0F;
    }
  }
};

/// Results of a panel that a thread block finishes: a share of its outputs of all its tokens.
struct Results {
  int own_log2;  // of its outputs
  int first_output;
  int first_token;
  int count;

  __device__ Results(const ProductArgs& args, int part, int tokens)
      : own_log2(kColumnsLog2 - args.parts_log2),
        first_output(part << own_log2),
        first_token(static_cast<int>(blockIdx.y) * args.tokens_at_once),
        count(tokens << own_log2) {}
  [[nodiscard]] __device__ int token(int i) const { return i >> own_log2; }
  [[nodiscard]] __device__ int own_output(int i) const { return i & ((1 << own_log2) - 1); }
  [[nodiscard]] __device__ std::int64_t output(int panel, int i) const {
    return std::int64_t{panel} * kColumns + first_output + own_output(i);
  }
};

/// A panel's sums of all warps, thread blocks of the cluster and levels to results; `added` is that
/// of the thread's first and becomes that of the next panel's.
template <class Layout, int kMatrices>
__device__ void finish_panel(const ProductArgs& args, const Layout& layout, const Results& results,
                             int panel, int number, std::byte* shared, Added<kMatrices>& added) {
  const auto* const sums = reinterpret_cast<const float*>(shared + layout.sums_at);
  auto* const gathered =
      reinterpret_cast<float*>(shared + layout.gathered_at()) + number % 2 * Layout::kSums;
  const int thread = static_cast<int>(threadIdx.x);
  const int parts = 1 << args.parts_log2;
  const auto part = static_cast<int>(blockIdx.z);
  const auto sum_of_shares = [&](int m, int column, int output) {
    float sum = 0;
#pragma unroll
    for (int share = 0; share < kShares; ++share) {
      sum += sums[((share * kMatrices + m) * Layout::kAllColumns + column) * kColumns + output];
    }
    return sum;
  };
  __syncthreads();
  if (parts > 1) {
    const int output = thread % kColumns;
    float* const to = in_block(gathered, static_cast<unsigned>(output >> results.own_log2));
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      for (int column = thread / kColumns; column < layout.columns; column += kThreads / kColumns) {
        to[(((part * kMatrices + m) * Layout::kAllColumns + column) << results.own_log2) +
           results.own_output(output)] = sum_of_shares(m, column, output);
      }
    }
    arrive_at_cluster();
    wait_for_cluster();
  }
  const int levels = args.columns.levels;
  for (int i = thread; i < results.count; i += kThreads) {
    const int token = results.token(i);
    const std::int64_t output = results.output(panel, i);
    if (i >= kThreads) {
      added.load(args, results.first_token + token, output);
    }
    float value[kMatrices];
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      value[m] = added.bias[m];
      for (int level = 0; level < levels; ++level) {
        const int column = token * levels + level;
        if (parts == 1) {
          value[m] += sum_of_shares(m, column, results.own_output(i));
        } else {
          for (int from = 0; from < parts; ++from) {
            value[m] += gathered[(((from * kMatrices + m) * Layout::kAllColumns + column)
                                  << results.own_log2) +
                                 results.own_output(i)];
          }
        }
      }
    }
    const float activation = activated(args.activation, value[0]);
    const float result = kMatrices == 2 ? activation * value[kMatrices - 1] : activation;
    if (output < args.outputs) {
      args.out[(results.first_token + token) * args.outputs + output] = added.residual + result;
    }
  }
  if (thread < results.count) {
    added.load(args, results.first_token + results.token(thread),
               results.output(panel + static_cast<int>(gridDim.x), thread));
  }
  __syncthreads();  // before the sums are written again
}

/// A warp's step: its weights by columns in shared memory, `x` the lane's eight inputs of the
/// first.
template <class K, int kTiles, int kMatrices>
__device__ void multiply_step(const Step<K> (&weights)[kMatrices], const std::byte* x, int stride,
                              int columns, bool counts, int (&products)[kMatrices][kTiles][2][4]) {
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const uint2 right = counts && tile * kTile < columns
                            ? *reinterpret_cast<const uint2*>(x + tile * kTile * stride)
                            : make_uint2(0, 0);
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        unsigned a[4];
        left_side<K>(weights[m].words, pair, a);
        multiply_add_bytes(products[m][tile][pair], a, right);
      }
    }
  }
}

/// The end of a block of inputs; `blocks` are the lane's columns' of the first tile.
template <class K, int kTiles, int kMatrices>
__device__ void end_block(const Step<K> (&weights)[kMatrices], const ColumnBlock* blocks,
                          int (&products)[kMatrices][kTiles][2][4], Sums<kTiles, kMatrices>& sums) {
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    // Of a column that does not exist whatever is there: nobody looks at its sums.
    const uint4 bits = *reinterpret_cast<const uint4*>(blocks + tile * kTile);
    const ColumnBlock two[2]{{__uint_as_float(bits.x), static_cast<int>(bits.y)},
                             {__uint_as_float(bits.z), static_cast<int>(bits.w)}};
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      add_products(products[m][tile], weights[m], two, sums[m][tile]);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        products[m][tile][k / 4][k % 4] = 0;
      }
    }
  }
}

/// Grid: clusters, groups of tokens, parts of the inputs.
template <class K, int kTiles, int kMatrices, Blocks kBlocks>
__global__ void __launch_bounds__(kThreads, kTiles == 1 ? 2 : 1)
    quantized_linear_kernel(ProductArgs args) {
  using Layout = SharedLayout<kTiles * kTile, kMatrices>;
  constexpr int kAllColumns = Layout::kAllColumns;
  constexpr int kBlocksOfUnit = kBlocks == Blocks::half_steps ? 2 : 1;
  extern __shared__ __align__(16) std::byte all_shared[];
  auto* const rings = reinterpret_cast<Ring<K, kMatrices>*>(all_shared);
  std::byte* const shared = all_shared + kWarps * sizeof(Ring<K, kMatrices>);
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int half = thread / 32 % kHalves;
  const int share = thread / 32 / kHalves;
  const auto part_number = static_cast<int>(blockIdx.z);
  const auto panel_stride = static_cast<int>(gridDim.x);
  const auto first_panel = static_cast<int>(blockIdx.x);
  const int parts = 1 << args.parts_log2;

  let_next_kernel_start();
  if (parts > 1) {
    arrive_at_cluster();  // all its blocks run before any writes to another
  }
  const Part part(args.units, part_number, args.parts_log2);
  const Part own(part.count, share, kSharesLog2);
  const int panels = (args.panels - first_panel + panel_stride - 1) / panel_stride;
  Weights<K, kMatrices, kBlocks> weights(args, half, part.first + own.first, own.count, panels,
                                         lane, rings[thread / 32]);
#pragma unroll
  for (int i = 0; i < Ring<K, kMatrices>::kStages; ++i) {
    weights.load();
  }
  const int tokens =
      min(args.tokens_at_once, args.tokens - static_cast<int>(blockIdx.y) * args.tokens_at_once);
  const Layout layout(args.inputs_of_part, args.block_size, tokens * args.columns.levels);
  const Results results(args, part_number, tokens);

  wait_for_previous_kernel();
  Added<kMatrices> added;
  if (thread < results.count) {
    added.load(args, results.first_token + results.token(thread),
               results.output(first_panel, thread));
  }
  const int first_input = part.first * args.unit_inputs;
  copy_columns(args, layout, first_input, part.count * args.unit_inputs,
               std::int64_t{results.first_token} * args.columns.levels, shared);
  if (parts > 1) {
    wait_for_cluster();
  }
  __syncthreads();

  const int g = lane / 4;
  const int t = lane % 4;
  const int columns_left = layout.columns - g;
  const std::byte* const first_x =
      shared + g * layout.stride + 8 * t + own.first * args.unit_inputs;
  const auto* const first_blocks =
      reinterpret_cast<const ColumnBlock*>(shared + layout.blocks_at()) +
      own.first * kBlocksOfUnit * kAllColumns + 2 * t;
  auto* const sums_at = reinterpret_cast<float*>(shared + layout.sums_at);
  const int steps_of_unit = kBlocks == Blocks::several_steps ? args.unit_inputs / kStepInputs : 1;
  int number = 0;
  for (int panel = first_panel; panel < args.panels; panel += panel_stride, ++number) {
    Sums<kTiles, kMatrices> sums = {};
    const std::byte* x = first_x;
    const ColumnBlock* blocks = first_blocks;
    for (int unit = 0; unit < own.count; ++unit) {
      int products[kMatrices][kTiles][2][4] = {};
      Step<K> now[kMatrices];
      if constexpr (kBlocks == Blocks::half_steps) {
        weights.take(now);
        // Each half with the other's inputs as zeros.
        multiply_step<K, kTiles, kMatrices>(now, x, layout.stride, columns_left, t < 2, products);
        end_block<K, kTiles, kMatrices>(now, blocks, products, sums);
        const int second = 2 * (part.first + own.first + unit) + 1;
        if (second < args.columns.block_count) {
          weights.take_second_scales(panel, second, half, now);
          multiply_step<K, kTiles, kMatrices>(now, x, layout.stride, columns_left, t >= 2,
                                              products);
          end_block<K, kTiles, kMatrices>(now, blocks + kAllColumns, products, sums);
        }
        weights.load();
        x += kStepInputs;
      } else {
        for (int step = 0; step < steps_of_unit; ++step) {
          weights.take(now);
          multiply_step<K, kTiles, kMatrices>(now, x, layout.stride, columns_left, true, products);
          if (kBlocks == Blocks::steps || step + 1 == steps_of_unit) {
            end_block<K, kTiles, kMatrices>(now, blocks, products, sums);
          }
          weights.load();
          x += kStepInputs;
        }
      }
      blocks += kBlocksOfUnit * kAllColumns;
    }
    // A lane's four outputs lie side by side.
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const auto& of = sums[m][tile];
          const Vector<float, 4> four{of[0][i], of[0][2 + i], of[1][i], of[1][2 + i]};
          four.store(sums_at +
                     ((share * kMatrices + m) * kAllColumns + tile * kTile + 2 * t + i) * kColumns +
                     half * kOutputsOfWarp + 4 * g);
        }
      }
    }
    finish_panel<Layout, kMatrices>(args, layout, results, panel, number, shared, added);
  }
}

template <class K, int kTiles, int kMatrices, Blocks kBlocks>
cudaError_t launch_tiles(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                         int multiprocessors, cudaStream_t stream) {
  const auto kernel = quantized_linear_kernel<K, kTiles, kMatrices, kBlocks>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  Shape<SharedLayout<kTiles * kTile, kMatrices>> shape(
      args, columns, kWarps * sizeof(Ring<K, kMatrices>), (kTiles == 1 ? 2 : 1) * multiprocessors,
      kMostPartsLog2);
  if (!shape.fits()) {
    if constexpr (kTiles > 1) {
      return launch_tiles<K, 1, kMatrices, kBlocks>(args, columns, multiprocessors, stream);
    }
    return cudaErrorInvalidValue;
  }
  if (const cudaError_t error = quantize_tokens_cuda(args, columns, stream); error != cudaSuccess) {
    return error;
  }
  return launch(kernel, shape.grid, kThreads, shape.shared_bytes, stream, shape.args);
}

template <class K, int kMatrices, Blocks kBlocks>
cudaError_t launch_columns(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                           int multiprocessors, cudaStream_t stream) {
  const std::int64_t count = args.tokens * columns.levels;
  if (count <= kTile || kBlocks == Blocks::half_steps) {  // the latter few models have
    return launch_tiles<K, 1, kMatrices, kBlocks>(args, columns, multiprocessors, stream);
  }
  if constexpr (kBlocks != Blocks::half_steps) {
    return count <= 2 * kTile
               ? launch_tiles<K, 2, kMatrices, kBlocks>(args, columns, multiprocessors, stream)
               : launch_tiles<K, kMaxTiles, kMatrices, kBlocks>(args, columns, multiprocessors,
                                                                stream);
  }
  return cudaErrorInvalidValue;
}

template <class K, int kMatrices>
cudaError_t launch_blocks(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                          int multiprocessors, cudaStream_t stream) {
  const std::int64_t size = args.weight.block_size;
  return size < kStepInputs ? launch_columns<K, kMatrices, Blocks::half_steps>(
                                  args, columns, multiprocessors, stream)
         : size == kStepInputs
             ? launch_columns<K, kMatrices, Blocks::steps>(args, columns, multiprocessors, stream)
             : launch_columns<K, kMatrices, Blocks::several_steps>(args, columns, multiprocessors,
                                                                   stream);
}

template <class K>
cudaError_t launch_matrices(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                            int multiprocessors, cudaStream_t stream) {
  return args.weight.matrices == 2 ? launch_blocks<K, 2>(args, columns, multiprocessors, stream)
                                   : launch_blocks<K, 1>(args, columns, multiprocessors, stream);
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
    return launch_matrices<decltype(kind)>(args, columns, multiprocessors, stream);
  });
}

}  // namespace kvcache::kernels
