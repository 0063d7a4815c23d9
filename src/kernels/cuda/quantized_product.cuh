// What the kernels for weights of 8 and 4 bits have in common: how a product is divided, and its
// integer instruction.
//
// A warp has 32 of a panel's outputs and a share of the inputs, a thread block a part of the
// inputs; the thread blocks of a cluster have all parts. Sums meet in shared memory.
#pragma once

#include <bit>
#include <cstdint>

#include "base/rounding.hpp"
#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/quantized_linear_cuda.hpp"
#include "kernels/cuda/quantized_tokens.hpp"
#include "kernels/cuda/tensor_cores.cuh"

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

template <int kBitCount, bool kHasMinimums>
struct Kind {
  static constexpr int kBits = kBitCount;
  static constexpr bool kMinimums = kHasMinimums;
  static constexpr int kRows = kBits / 4;  // of the file, of 64 outputs, that a lane reads a step
  static constexpr int kScaleRows = kMinimums ? 2 : 1;
};

/// Calls `work` with the weight's kind.
template <typename Work>
cudaError_t with_kind(const QuantizedWeight& weight, const Work& work) {
  if (weight.bits == 8) {
    return work(Kind<8, false>());
  }
  return weight.minimums ? work(Kind<4, true>()) : work(Kind<4, false>());
}

/// How blocks of inputs, which have scales of their own, lie to steps.
enum class Blocks { half_steps, steps, several_steps };

/// What the kernel works on.
struct ProductArgs {
  const float* x;  // this and the next two: where thread blocks norm and round their tokens
  const std::int64_t* positions;
  NormArgs<float> norm;
  QuantizedColumns columns;  // otherwise: what has been rounded
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
  int tokens_at_once;  // of a thread block, where it has not all
  int rows;            // of a panel
  int panels;          // of a matrix
  int units;           // of a panel: the larger of a block of inputs and a step
  int unit_inputs;
  int unit_steps_log2;
  int parts_log2;
  int inputs_of_part;  // at most, where a thread block rounds them
  Activation activation;
};

/// What one of 2^parts_log2 has of some units.
struct Part {
  int first;
  int count;

  __device__ Part(int units, int part, int parts_log2)
      : first(units * part >> parts_log2), count((units * (part + 1) >> parts_log2) - first) {}
};

/// Integers of up to 22 bits that are added to its bits become floats by a subtraction.
constexpr float kBase = 12582912.0F;  // 1.5 · 2²³
static_assert(QuantizedWeight::kLargestBlock * 128 * 127 < 1 << 22);

/// multiply_add_bytes() in place of a sum, beginning with one number for each of a lane's columns.
__device__ inline void multiply_bytes(int (&product)[4], const unsigned (&a)[4], uint2 b, int first,
                                      int second) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%10,%11,%10,%11};"
      : "=r"(product[0]), "=r"(product[1]), "=r"(product[2]), "=r"(product[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y), "r"(first), "r"(second));
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

/// Thread blocks of a cluster: so many that the device is full, each with work for its warps.
inline int choose_parts_log2(std::int64_t panels, int units, int slots, int most_log2) {
  int log2 = 0;
  while (device_has_clusters() && log2 < most_log2 && (2 << log2) * panels <= slots &&
         units >= (2 << log2) * kShares) {
    ++log2;
  }
  return log2;
}

/// What both kernels are given; how the product is divided is to be filled in.
inline ProductArgs product_args(const QuantizedLinearCudaArgs& of,
                                const QuantizedColumns& columns) {
  const QuantizedWeight& weight = of.weight;
  ProductArgs args{};
  args.x = of.x;
  args.positions = of.positions;
  args.norm = of.norm;
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
  args.block_size = static_cast<int>(weight.block_size);
  args.zero_point = weight.zero_point();
  args.tokens = static_cast<int>(of.tokens);
  args.rows = static_cast<int>(weight.groups());
  args.panels = static_cast<int>(panel_count(weight.outputs));
  args.unit_inputs = args.block_size > kStepInputs ? args.block_size : kStepInputs;
  args.unit_steps_log2 = std::countr_zero(static_cast<unsigned>(args.unit_inputs / kStepInputs));
  args.units = static_cast<int>(divide_up(weight.padded_inputs(), args.unit_inputs));
  args.activation = of.activation;
  return args;
}

}  // namespace kvcache::kernels::quantized
