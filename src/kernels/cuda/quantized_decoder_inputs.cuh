// Inputs of a quantised decoder's products, rounded to int8, and a warp's sums of them with its
// weights, on the tensor cores' integer product m16n8k32.
//
// The instruction has 16 rows of inputs for one token. So each of eight pieces of inputs, which
// have scales of their own, has a row to itself: of every instruction only one row is not zero, and
// after eight of them a lane has the exact sums of one piece with two columns. Only then are they
// multiplied with scales.
#pragma once

#include "kernels/cuda/decoder_block.cuh"
#include "kernels/cuda/quantized_decoder.hpp"
#include "kernels/cuda/quantized_tokens.cuh"

namespace kvcache::kernels {

/// Pieces of inputs in shared memory, integers and then blocks, one per piece: what they are
/// multiplied with, and what is added to the sums of their products (ColumnBlock). A warp writes
/// and reads its own slice only.
class RoundedInputs {
 public:
  __device__ RoundedInputs(unsigned char* room, int pieces)
      : values_(reinterpret_cast<uint2*>(room)),
        blocks_(reinterpret_cast<ColumnBlock*>(room + pieces * kPieceInputs)) {}

  /// Rounds eight inputs that the lane has of a piece, as neighbouring lanes have the others, four
  /// a piece; `has` is false where there is none. By all lanes; pieces of a block lie side by side.
  __device__ void put(int piece, bool has, const QuantizedKind& kind, Octet x) {
    const float largest = largest_of_block(x.values, kLanes * kind.block_pieces);
    const bool finite = __float_as_uint(largest) < 0x7F800000U;
    const float scale = largest / 127.0F;
    const EightRounded rounded = round_eight(x.values, 127.0F / largest, scale, kLanes);
    if (has) {
      values_[piece * kLanes + lane() % kLanes] = rounded.values;
      if (lane() % kLanes == 0) {
        const int zero_point = kind.bits == 8 ? 128 : 8;
        blocks_[piece] = {finite ? scale : nanf(""),
                          kind.minimums ? rounded.sum : -zero_point * rounded.sum};
      }
    }
  }

  /// The lane's of piece lane / 4 behind `first`, or zeros where there are only `count` pieces.
  __device__ uint2 values(int first, int count) const {
    return lane() / kLanes < count ? values_[first * kLanes + lane()] : uint2{0, 0};
  }
  __device__ ColumnBlock block(int first, int count) const {
    return lane() / kLanes < count ? blocks_[first + lane() / kLanes] : ColumnBlock{0.0F, 0};
  }

 private:
  static constexpr int kLanes = 4;  // of a piece
  [[nodiscard]] __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  uint2* values_;
  ColumnBlock* blocks_;
};

/// sum = a · b + sum: a of 16 rows by 32 inputs with a sign, rows 8 … 15 zero, b of 32 inputs by 8
/// columns without one. PTX ISA, "Matrix Fragments for mma.m16n8k32": lane 4·g + t has row g of a,
/// column g of b and of the sum row g of columns 2t and 2t + 1. Which input is which is the same
/// for both.
__device__ inline void multiply_add_row(int (&sum)[4], uint2 a, uint2 b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, "
      "{%0,%1,%2,%3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a.x), "r"(0), "r"(a.y), "r"(b.x), "r"(b.y));
}

/// A warp's sums of columns 2t and 2t + 1 of a strip.
class RoundedSums {
 public:
  static constexpr int kPieces = 8;  // at once

  /// Of up to so many pieces of weights, one behind the other, with the inputs from `first` on.
  template <int kBits>
  __device__ void add(const unsigned char* weights, const QuantizedKind& kind,
                      const RoundedInputs& inputs, int first, int count) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int bytes = kind.piece_bytes();
    const uint2 x = inputs.values(first, count);
    const ColumnBlock block = inputs.block(first, count);
    const int offset = kind.minimums ? 0 : block.offset;
    const bool has = lane / 4 < count;
    const unsigned char* const scales_at =
        weights + lane / 4 * bytes + kind.value_bytes() + lane % 4 * 4;
    const float2 scales = has ? pair_at(scales_at) : float2{0.0F, 0.0F};
    // Two chains of instructions, which do not wait for each other.
    int sums[2][4] = {{offset, offset, 0, 0}, {}};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (half == 0 || count > kPieces / 2) {
#pragma unroll
        for (int i = 0; i < kPieces / 2; ++i) {
          const int piece = half * (kPieces / 2) + i;
          const bool own = lane / 4 == piece;
          // Of pieces that there are not the inputs are zeros.
          multiply_add_row(sums[piece % 2], {own ? x.x : 0, own ? x.y : 0},
                           values_at<kBits>(weights + piece * bytes, lane));
        }
      }
    }
    const float first_product = static_cast<float>(sums[0][0] + sums[1][0]) * block.scale;
    const float second_product = static_cast<float>(sums[0][1] + sums[1][1]) * block.scale;
    total_.x = fmaf(first_product, scales.x, total_.x);
    total_.y = fmaf(second_product, scales.y, total_.y);
    if (kind.minimums && has) {
      const float2 minimums = pair_at(scales_at + 2 * kStripColumns);
      const float sum = static_cast<float>(block.offset) * block.scale;
      total_.x = fmaf(sum, minimums.x, total_.x);
      total_.y = fmaf(sum, minimums.y, total_.y);
    }
  }

  /// Of all pieces, in lanes t of any g.
  [[nodiscard]] __device__ float2 total() const {
    float2 sum = total_;
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) {
      sum.x += __shfl_xor_sync(kAllLanes, sum.x, offset);
      sum.y += __shfl_xor_sync(kAllLanes, sum.y, offset);
    }
    return sum;
  }

 private:
  [[nodiscard]] __device__ static float2 pair_at(const unsigned char* halves) {
    return __half22float2(*reinterpret_cast<const __half2*>(halves));
  }

  /// The lane's inputs of column lane / 4.
  template <int kBits>
  [[nodiscard]] __device__ static uint2 values_at(const unsigned char* piece, int lane) {
    if constexpr (kBits == 8) {
      return reinterpret_cast<const uint2*>(piece)[lane];
    } else {
      constexpr unsigned kLower = 0x0F0F0F0FU;
      const unsigned word = reinterpret_cast<const unsigned*>(piece)[lane];
      return {word & kLower, word >> 4U & kLower};
    }
  }

  float2 total_{0.0F, 0.0F};
};

}  // namespace kvcache::kernels
