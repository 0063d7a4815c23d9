// What the kernels for weights of 8 and 4 bits have in common: how a thread block has its tokens'
// inputs, rounded, in shared memory, and what it does with a panel's sums.
//
// A warp has 32 of a panel's outputs and a share of the inputs, a thread block a part of the
// inputs; a cluster of thread blocks goes through panels. Sums meet in shared memory.
#pragma once

#include <bit>
#include <cstdint>

#include "base/rounding.hpp"
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/quantized_linear_cuda.hpp"
#include "kernels/cuda/quantized_tokens.cuh"

namespace kvcache::kernels::quantized {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kColumns = static_cast<int>(kPanelColumns);
constexpr int kColumnsLog2 = 6;
static_assert(kColumns == 1 << kColumnsLog2);
constexpr int kOutputsOfWarp = 32;
constexpr int kHalves = kColumns / kOutputsOfWarp;
constexpr int kSharesLog2 = 2;
constexpr int kShares = 1 << kSharesLog2;  // of a thread block's inputs
static_assert(kShares * kHalves == kWarps);
constexpr int kRowBytes = kColumns * static_cast<int>(QuantizedWeight::kGroupInputs);
constexpr int kMaxOwnTokens = 4;  // that every thread block rounds for itself

template <int kBitCount, bool kHasMinimums>
struct Kind {
  static constexpr int kBits = kBitCount;
  static constexpr bool kMinimums = kHasMinimums;
  static constexpr int kRows = kBits / 4;  // of the file, of 64 outputs, that a lane reads a step
  static constexpr int kScaleRows = kMinimums ? 2 : 1;
};

/// How blocks of inputs, which have scales of their own, lie to steps.
enum class Blocks { half_steps, steps, several_steps };

/// What the kernel works on.
struct ProductArgs {
  const float* x;  // null: it has been rounded to `columns`
  const std::int64_t* positions;
  NormArgs<float> norm;
  QuantizedColumns columns;
  const std::uint8_t* values;
  const __half* scales;
  const float* bias;
  const float* residual;
  float* out;
  std::int64_t outputs;
  std::int64_t panel_bytes;
  std::int64_t panel_scales;
  int inputs;
  int block_size;
  int zero_point;
  int tokens;
  int tokens_at_once;  // of a thread block
  int rows;            // of a panel
  int panels;          // of a matrix
  int units;           // of a panel: the larger of a block of inputs and a step
  int unit_inputs;
  int unit_steps_log2;
  int parts_log2;
  int inputs_of_part;  // at most
  Activation activation;
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

/// What one of 2^parts_log2 has of some units.
struct Part {
  int first;
  int count;

  __device__ Part(int units, int part, int parts_log2)
      : first(units * part >> parts_log2), count((units * (part + 1) >> parts_log2) - first) {}
};

/// sum = a · b + sum: a of 16 outputs by 32 inputs, values without a sign, b of 32 inputs by 8
/// columns. PTX ISA, "Matrix Fragments for mma.m16n8k32": lane 4·g + t has rows g and g + 8, inputs
/// 4t to 4t + 3 and 16 further, and of the sum columns 2t and 2t + 1.
__device__ inline void multiply_add_bytes(int (&sum)[4], const unsigned (&a)[4], uint2 b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

__device__ inline unsigned component(const uint4& of, int i) {
  return i == 0 ? of.x : i == 1 ? of.y : i == 2 ? of.z : of.w;
}

/// The left side of the instruction for two of a lane's outputs, 2 · pair and the next.
template <class K>
__device__ void left_side(const uint4 (&words)[K::kRows], int pair, unsigned (&a)[4]) {
  constexpr unsigned kLower = 0x0F0F0F0FU;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const unsigned word = component(words[0], 2 * pair + i);
    if constexpr (K::kBits == 8) {
      a[i] = word;
      a[2 + i] = component(words[K::kRows - 1], 2 * pair + i);
    } else {
      a[i] = word & kLower;
      a[2 + i] = word >> 4U & kLower;
    }
  }
}

/// A thread's part of a token's moments about its first input, or, of an rms_norm, about zero.
__device__ inline float2 moments_of_thread(const float* row, int inputs, bool is_rms) {
  const float origin = is_rms ? 0.0F : row[0];
  float2 moment{0.0F, 0.0F};
  const auto take = [&](float x) {
    moment.x += x - origin;
    moment.y += (x - origin) * (x - origin);
  };
  const int thread = static_cast<int>(threadIdx.x);
  if (inputs % 4 == 0) {
#pragma unroll 4
    for (int i = thread * 4; i < inputs; i += kThreads * 4) {
      const auto x = Vector<float>::load(row + i);
#pragma unroll
      for (const float element : x.elements) {
        take(element);
      }
    }
  } else {
    for (int i = thread; i < inputs; i += kThreads) {
      take(row[i]);
    }
  }
  return moment;
}

/// The first `existing` of eight numbers, zeros behind them.
__device__ inline void load_eight(const float* from, int existing, float (&to)[8]) {
  if (existing >= 8 && reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto four = Vector<float>::load(from + 4 * half);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        to[4 * half + i] = four.elements[i];
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      to[i] = i < existing ? from[i] : 0.0F;
    }
  }
}

/// Norms and rounds the thread block's part of its tokens, inputs from `first` on, to shared
/// memory.
template <class Layout>
__device__ void round_tokens(const ProductArgs& args, const Layout& layout, int first, int count,
                             std::byte* shared) {
  __shared__ float2 moments[kMaxOwnTokens][kWarps];
  const int thread = static_cast<int>(threadIdx.x);
  const auto row_of = [&](int token) {
    return args.x + (args.positions != nullptr ? args.positions[token] : token) * args.inputs;
  };
  const bool norms = args.norm.weight != nullptr;
  if (norms) {
    for (int token = 0; token < args.tokens; ++token) {
      const float2 own = moments_of_thread(row_of(token), args.inputs, args.norm.is_rms);
      const float2 of_warp{sum_of_lanes(own.x), sum_of_lanes(own.y)};
      if (thread % 32 == 0) {
        moments[token][thread / 32] = of_warp;
      }
    }
    __syncthreads();
  }
  const int levels = args.columns.levels;
  const int lanes = args.block_size / 8;
  auto* const blocks = reinterpret_cast<ColumnBlock*>(shared + layout.blocks_at());
  for (int token = 0; token < args.tokens; ++token) {
    const float* row = row_of(token);
    float shift = 0;
    float scale = 1;
    if (norms) {
      float2 total{0.0F, 0.0F};
#pragma unroll
      for (const float2& moment : moments[token]) {
        total.x += moment.x;
        total.y += moment.y;
      }
      const auto inputs = static_cast<float>(args.inputs);
      const float mean = args.norm.is_rms ? 0.0F : total.x / inputs;
      scale = rsqrtf(total.y / inputs - mean * mean + args.norm.epsilon);
      shift = args.norm.is_rms ? 0.0F : row[0] + mean;
    }
    for (int of_warp = thread / 32 * 256; of_warp < count; of_warp += kThreads * 8) {
      const int own = of_warp + thread % 32 * 8;
      const int input = first + own;
      const int existing = own < count ? args.inputs - input : 0;
      float x[8];
      load_eight(row + input, existing, x);
      if (norms) {
        float weight[8];
        float bias[8] = {};
        load_eight(args.norm.weight + input, existing, weight);
        if (args.norm.bias != nullptr) {
          load_eight(args.norm.bias + input, existing, bias);
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          x[i] = i < existing ? (x[i] - shift) * scale * weight[i] + bias[i] : 0.0F;
        }
      }
      round_to_levels(x, lanes, levels, [&](int level, const EightRounded& rounded, float factor) {
        const int column = token * levels + level;
        if (own < count) {
          *reinterpret_cast<uint2*>(shared + column * layout.stride + own) = rounded.values;
          if (own % args.block_size == 0) {
            blocks[own / args.block_size * Layout::kAllColumns + column] = {
                factor, args.zero_point == 0 ? rounded.sum : -args.zero_point * rounded.sum};
          }
        }
      });
    }
  }
}

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

/// Thread blocks of a cluster: so many that the device is full, each with work for its warps.
inline int choose_parts_log2(std::int64_t panels, int units, int slots, int most_log2) {
  int log2 = 0;
  while (device_has_clusters() && log2 < most_log2 && (2 << log2) * panels <= slots &&
         units >= (2 << log2) * kShares) {
    ++log2;
  }
  return log2;
}

/// How a product is launched. Layout is its shared memory behind `ring_bytes`, `slots` how many
/// thread blocks the device has room for.
template <class Layout>
struct Shape {
  ProductArgs args{};
  dim3 grid;
  std::size_t shared_bytes = 0;

  Shape(const QuantizedLinearCudaArgs& of, const QuantizedColumns& columns, std::size_t ring_bytes,
        int slots, int most_parts_log2) {
    const QuantizedWeight& weight = of.weight;
    const int levels = columns.levels;
    const auto block_size = static_cast<int>(weight.block_size);
    const int unit = block_size > kStepInputs ? block_size : kStepInputs;
    args.unit_inputs = unit;
    args.unit_steps_log2 = std::countr_zero(static_cast<unsigned>(unit / kStepInputs));
    args.units = static_cast<int>(divide_up(weight.padded_inputs(), unit));
    args.panels = static_cast<int>(panel_count(weight.outputs));
    args.tokens = static_cast<int>(of.tokens);
    const int most = Layout::kAllColumns / levels;
    args.tokens_at_once = args.tokens < most ? args.tokens : most;
    const int groups = divide_up(args.tokens, args.tokens_at_once);
    args.parts_log2 =
        choose_parts_log2(std::int64_t{args.panels} * groups, args.units, slots, most_parts_log2);
    const int parts = 1 << args.parts_log2;
    const int clusters = slots / parts > 0 ? slots / parts : 1;
    const int of_cluster = divide_up(args.panels, clusters);  // all as busy
    grid = dim3(static_cast<unsigned>(divide_up(args.panels, of_cluster)),
                static_cast<unsigned>(groups), static_cast<unsigned>(parts));
    args.inputs_of_part = divide_up(args.units, parts) * unit;
    const Layout layout(args.inputs_of_part, block_size, args.tokens_at_once * levels);
    shared_bytes = ring_bytes + static_cast<std::size_t>(layout.bytes());
    args.columns = columns;
    args.values = weight.values;
    args.scales = reinterpret_cast<const __half*>(weight.scales);
    args.bias = of.bias;
    args.residual = of.residual;
    args.out = of.out;
    args.outputs = weight.outputs;
    args.panel_bytes = weight.panel_bytes();
    args.panel_scales = weight.panel_scales();
    args.inputs = static_cast<int>(weight.inputs);
    args.block_size = block_size;
    args.zero_point = weight.zero_point();
    args.rows = static_cast<int>(weight.groups());
    args.activation = of.activation;
  }

  /// The thread blocks norm and round the tokens themselves.
  void round_within(const QuantizedLinearCudaArgs& of) {
    args.x = of.x;
    args.positions = of.positions;
    args.norm = of.norm;
  }

  [[nodiscard]] bool fits() const { return shared_bytes <= most_shared_bytes(); }
};

}  // namespace kvcache::kernels::quantized
