// Products of one token with a block's strips, on tensor cores.
//
// The matrix instruction has 16 rows for tokens. The one token's rounded value goes into row 0 and
// what rounding took from it into row 1: their sum is the product with float32 inputs, for nothing.
// A lane's 16 bytes of weight are eight neighbouring inputs of one column, which it feeds to two
// instructions; the inputs of both are ordered alike, so their order does not matter.
#pragma once

#include "kernels/cuda/fused_block.cuh"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {

/// The warp's sums of columns 2t and 2t + 1 of a strip, of row 0 in lanes t = 0 … 3, of row 1 in
/// lanes 4 + t.
struct StripSums {
  float first[4] = {};
  float second[4] = {};

  template <typename T>
  __device__ void add(const uint4& weight, const uint4& inputs) {
    multiply_add<T>(first, {inputs.x, 0, inputs.y, 0}, weight.x, weight.y);
    multiply_add<T>(second, {inputs.z, 0, inputs.w, 0}, weight.z, weight.w);
  }
  [[nodiscard]] __device__ float2 of_row() const {
    return {first[0] + second[0], first[1] + second[1]};
  }
  /// Of both rows, in lanes 0 … 3.
  [[nodiscard]] __device__ float2 total() const {
    const float2 own = of_row();
    return {own.x + __shfl_xor_sync(kAllLanes, own.x, 4),
            own.y + __shfl_xor_sync(kAllLanes, own.y, 4)};
  }
};

/// Eight neighbouring inputs of one of kRows rows, `apart` vectors from each other, for the lanes
/// that hold them; zeros for the others.
template <int kRows>
__device__ uint4 inputs_of_lane(const uint4* inputs, int apart, int piece, int lane) {
  return lane < 4 * kRows ? inputs[lane / 4 * apart + piece * 4 + lane % 4] : uint4{0, 0, 0, 0};
}

/// The sums of kFusedWarps / kStrips warps that share a strip, each with every so manieth of its
/// pieces; in `shared.sums` after the block's next barrier. Inputs: two rows in shared memory.
template <typename T, int kStrips, int kPieces>
__device__ void multiply_strips(const uint4* strips, const uint4* inputs, FusedShared& shared) {
  constexpr int kApart = kFusedWarps / kStrips;
  constexpr int kRounds = (kPieces + kApart - 1) / kApart;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first = warp % kApart;
  const uint4* strip = strips + (warp / kApart * kPieces + first) * 32 + lane;
  StripSums sums;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    if (kPieces % kApart == 0 || first + round * kApart < kPieces) {
      sums.add<T>(strip[round * kApart * 32],
                  inputs_of_lane<2>(inputs, kPieces * 4, first + round * kApart, lane));
    }
  }
  const float2 total = sums.total();
  if (lane < 4) {
    shared.sums[warp][lane] = total;
  }
}

/// The block's sums of a pair of columns, over the warps that share its strip.
template <int kStrips>
__device__ float2 sum_of_warps(const FusedShared& shared, int pair) {
  constexpr int kPairs = kStripColumns / 2;
  constexpr int kApart = kFusedWarps / kStrips;
  float2 sum{0.0F, 0.0F};
#pragma unroll
  for (int i = 0; i < kApart; ++i) {
    const float2 one = shared.sums[pair / kPairs * kApart + i][pair % kPairs];
    sum.x += one.x;
    sum.y += one.y;
  }
  return sum;
}

/// Calls `work` with a number of strips, 1 … kMaxStrips, as a type.
template <typename Work>
__device__ void with_strips(int count, const Work& work) {
  static_assert(kMaxStrips == 4);
  switch (count) {
    case 1:
      return work(std::integral_constant<int, 1>{});
    case 2:
      return work(std::integral_constant<int, 2>{});
    case 3:
      return work(std::integral_constant<int, 3>{});
    default:
      return work(std::integral_constant<int, 4>{});
  }
}

/// Multiplies with 1 … kMaxStrips strips, and gives the sums of pair `thread` of columns to `end`,
/// for each that there is.
template <typename T, int kPieces, typename End>
__device__ void multiply(const uint4* strips, int count, const uint4* inputs, FusedShared& shared,
                         const End& end) {
  with_strips(count, [&](auto number) {
    constexpr int kStrips = decltype(number)::value;
    multiply_strips<T, kStrips, kPieces>(strips, inputs, shared);
    __syncthreads();
    if (threadIdx.x < kStrips * kStripColumns / 2) {
      end(sum_of_warps<kStrips>(shared, static_cast<int>(threadIdx.x)));
    }
  });
}

/// One strip, with 16-bit inputs that are still on their way from other blocks, as pairs. Each warp
/// waits for its own only and keeps them in its part of `room`, [32 · kPieces] 16-bit.
template <typename T, int kPieces>
__device__ void multiply_arriving(const uint4* strip, const unsigned* pairs, uint4* room,
                                  FusedShared& shared) {
  constexpr int kRounds = (kPieces + kFusedWarps - 1) / kFusedWarps;
  constexpr int kLanesRounds = 8;  // rounds that the warp's lanes look at once
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const auto piece_of = [&](int round) { return warp + round * kFusedWarps; };
#pragma unroll
  for (int first = 0; first < kRounds; first += kLanesRounds) {
    const int piece = piece_of(first + lane / 4);
    const auto arriving = receive_together<4>([&](Arriving<4>& to) {
      if (piece < kPieces) {
        to.template poll_four<0>(pairs + (piece * 4 + lane % 4) * 4);
      }
    });
    if (piece < kPieces) {
      const auto& words = arriving.words;
      room[piece * 4 + lane % 4] = {words[0], words[1], words[2], words[3]};
    }
  }
  __syncwarp();
  StripSums sums[2];
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    if (kPieces % kFusedWarps == 0 || piece_of(round) < kPieces) {
      sums[round % 2].add<T>(strip[piece_of(round) * 32 + lane],
                             inputs_of_lane<1>(room, 0, piece_of(round), lane));
    }
  }
  if (lane < 4) {
    const float2 even = sums[0].of_row();
    const float2 odd = sums[1].of_row();
    shared.sums[warp][lane] = {even.x + odd.x, even.y + odd.y};
  }
}

}  // namespace kvcache::kernels
