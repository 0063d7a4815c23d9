// How a warp of quantized_linear.cu comes by its weights and columns, 32 inputs at a time, and what
// it sums up of them.
#pragma once

#include "kernels/cuda/quantized_product.cuh"
#include "kernels/cuda/tile_sums.cuh"

namespace kvcache::kernels::quantized_steps {

using namespace quantized;

constexpr int kTile = 8;  // columns of the matrix instruction

/// A lane's two columns of a tile.
struct alignas(16) TwoBlocks {
  ColumnBlock of[2];
};

/// What a lane holds of a step: eight inputs of four outputs, and of a column of each tile.
template <class K, int kTiles>
struct Step {
  uint4 words[K::kRows];
  uint2 columns[kTiles];
};

/// Of a block of inputs the scales of the four outputs, and of two columns of each tile.
template <class K, int kTiles>
struct Scales {
  uint2 outputs[K::kScaleRows];  // four halves
  TwoBlocks columns[kTiles];
};

/// The way through a warp's share of the inputs.
template <class K, int kTiles, Blocks kBlocks>
class Source {
 public:
  /// The 32 outputs from `output` of a panel on, the columns from `first_column` on.
  __device__ Source(const ProductArgs& args, int panel, int output, int first_column, int lane)
      : args_(args),
        unit_mask_(kBlocks == Blocks::several_steps ? (1 << args.unit_steps_log2) - 1 : 0),
        row_(lane % 4 * K::kRows),
        values_(args.values + std::int64_t{panel} * args.panel_bytes +
                std::int64_t{row_} * kRowBytes + output * 4 + lane / 4 * 16),
        scales_(args.scales + std::int64_t{panel} * args.panel_scales + output + lane / 4 * 4),
        columns_(args.columns.values + lane % 4 * 8),
        blocks_(args.columns.blocks + first_column + lane % 4 * 2) {
    const int last = args.tokens * args.columns.levels - 1;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      first_steps_[tile] =
          min(first_column + tile * kTile + lane / 4, last) * (args.columns.inputs / kStepInputs);
    }
  }

  /// Of a block of several steps.
  [[nodiscard]] __device__ bool begins_block(int step) const { return (step & unit_mask_) == 0; }
  [[nodiscard]] __device__ bool ends_block(int step) const {
    return (step & unit_mask_) == unit_mask_;
  }
  [[nodiscard]] __device__ int block_of(int step) const {
    return kBlocks == Blocks::half_steps      ? 2 * step
           : kBlocks == Blocks::several_steps ? step >> args_.unit_steps_log2
                                              : step;
  }

  /// What no kernel of the run writes.
  __device__ void load_weights(int step, Step<K, kTiles>& to) const {
#pragma unroll
    for (int i = 0; i < K::kRows; ++i) {
      // Where a block is half a step, the last half may be none of the panel's.
      const bool exists =
          kBlocks != Blocks::half_steps || row_ + step * 4 * K::kRows + i < args_.rows;
      to.words[i] = exists ? *reinterpret_cast<const uint4*>(
                                 values_ + (std::int64_t{step} * 4 * K::kRows + i) * kRowBytes)
                           : uint4{};
    }
  }
  __device__ void load_scales(int block, Scales<K, kTiles>& to) const {
#pragma unroll
    for (int i = 0; i < K::kScaleRows; ++i) {
      to.outputs[i] = *reinterpret_cast<const uint2*>(
          scales_ + (std::int64_t{block} * K::kScaleRows + i) * kColumns);
    }
  }

  /// What the kernel before wrote.
  __device__ void load_columns(int step, Step<K, kTiles>& to) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      to.columns[tile] = *reinterpret_cast<const uint2*>(
          columns_ + std::int64_t{first_steps_[tile] + step} * kStepInputs);
    }
  }
  __device__ void load_blocks(int block, Scales<K, kTiles>& to) const {
    const ColumnBlock* const from = blocks_ + std::int64_t{block} * args_.columns.block_stride;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      to.columns[tile] = *reinterpret_cast<const TwoBlocks*>(from + tile * kTile);
    }
  }

 private:
  const ProductArgs& args_;
  int unit_mask_;
  int row_;
  const std::uint8_t* values_;
  const __half* scales_;
  const std::int8_t* columns_;
  const ColumnBlock* blocks_;
  int first_steps_[kTiles];  // of its columns
};

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

/// Of each tile four outputs of two columns.
template <class K, int kTiles>
class Sums {
 public:
  /// A step that is a block.
  __device__ void add_block(const Step<K, kTiles>& step, const Scales<K, kTiles>& scales) {
    unsigned a[2][4];
    left_sides(step, a);
    const Four scale(scales.outputs[0]);
    const Four minimum(scales.outputs[K::kScaleRows - 1]);  // where there are some
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const TwoBlocks& blocks = scales.columns[tile];
      int products[2][4];
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        multiply_bytes(products[pair], a[pair], step.columns[tile], base(blocks.of[0]),
                       base(blocks.of[1]));
      }
      scale_products<false>(products, blocks, scale, minimum, sums_[tile]);
    }
  }

  /// A step of a block of several, and the end of the block.
  __device__ void add_step(const Step<K, kTiles>& step, bool begins) {
    unsigned a[2][4];
    left_sides(step, a);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        int(&products)[4] = products_[tile][pair];
        if (begins) {
          multiply_bytes(products, a[pair], step.columns[tile], __float_as_int(kBase),
                         __float_as_int(kBase));
        } else {
          multiply_add_bytes(products, a[pair], step.columns[tile]);
        }
      }
    }
  }
  __device__ void end_block(const Scales<K, kTiles>& scales) {
    const Four scale(scales.outputs[0]);
    const Four minimum(scales.outputs[K::kScaleRows - 1]);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      scale_products<!K::kMinimums>(products_[tile], scales.columns[tile], scale, minimum,
                                    sums_[tile]);
    }
  }

  /// To [columns, stride] in shared memory.
  __device__ void store(float* to, int stride, int lane) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      store_tile(sums_[tile], to + tile * kTile * stride, stride, lane);
    }
  }

 private:
  __device__ static void left_sides(const Step<K, kTiles>& step, unsigned (&a)[2][4]) {
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      left_side<K>(step.words, pair, a[pair]);
    }
  }

  /// What a column's products are added to.
  __device__ static int base(const ColumnBlock& block) {
    return __float_as_int(kBase) + (K::kMinimums ? 0 : block.offset);
  }

  template <bool kAddsOffset>
  __device__ static void scale_products(const int (&products)[2][4], const TwoBlocks& blocks,
                                        const Four& scale, const Four& minimum,
                                        float (&sums)[2][4]) {
#pragma unroll
    for (int column = 0; column < 2; ++column) {
      const ColumnBlock& block = blocks.of[column];
      const float of_minimum = static_cast<float>(block.offset) * block.scale;
#pragma unroll
      for (int output = 0; output < 4; ++output) {
        const int at = output % 2 * 2 + column;
        float& sum = sums[output / 2][at];
        const float product =
            __int_as_float(products[output / 2][at] + (kAddsOffset ? block.offset : 0)) - kBase;
        sum = fmaf(product * block.scale, scale.of[output], sum);
        if constexpr (K::kMinimums) {
          sum = fmaf(of_minimum, minimum.of[output], sum);
        }
      }
    }
  }

  int products_[kTiles][2][4];  // of a block of several steps
  float sums_[kTiles][2][4] = {};
};

}  // namespace kvcache::kernels::quantized_steps
