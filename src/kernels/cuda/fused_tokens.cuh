// What several tokens of one fused step change: where their inputs and results lie, and the
// products with a block's strips.
//
// The matrix instruction has 16 rows: eight for tokens' rounded inputs, and eight for what rounding
// took from them, so that the sum of both is the product with float32 inputs, for nothing.
#pragma once

#include "kernels/cuda/fused_products.cuh"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {

constexpr int kRowPadding = 4;  // vectors of 16 bytes behind a row: two rows lie on other banks

/// Warps that share a token's residual stream, in vectors of 4 elements a lane.
constexpr int warps_of_token(int hidden, int tokens) {
  int warps = kFusedWarps / tokens;
  while (hidden / 128 % warps != 0) {
    --warps;
  }
  return warps;
}

/// A model's sizes and how many tokens a step has at most, as the compiler knows them.
template <int kHeadCount, int kTokenCount>
struct TokensShape : FusedShape<kHeadCount> {
  using Base = FusedShape<kHeadCount>;
  static constexpr int kTokens = kTokenCount;
  static constexpr int kSplits = splits_of(kTokens);
  static constexpr int kCopies = copies_of(kTokens);
  static constexpr int kParts = kTokens * kSplits;  // of a head, a block each
  static constexpr int kWarpsOfToken =
      warps_of_token(Base::kHidden, kTokenCount);                       // that have its stream
  static constexpr int kVectors = Base::kHidden / 128 / kWarpsOfToken;  // of 4 elements, a lane's
  static constexpr int kRow = Base::kHidden / 8 + kRowPadding;          // of inputs, in 16 bytes
  static constexpr int kInnerRow = Base::kInner / 8 + kRowPadding;      // of the contraction's
  static constexpr int kRows = kTokens * kRow;
  static_assert(kTokens <= kMaxFusedTokens && Base::kHidden % 128 == 0);

  static constexpr ExchangeLayout exchange() {
    return {Base::kHidden, Base::kInner, kHeadCount, kTokens};
  }
};

/// A lane's sums of columns 2t and 2t + 1 of a strip for token g; lane = 4 · g + t.
struct TokenSums {
  float first[4] = {};
  float second[4] = {};

  /// `low` is what rounding took from `high`.
  template <typename T>
  __device__ void add(const uint4& weight, const uint4& high, const uint4& low) {
    multiply_add<T>(first, {high.x, low.x, high.y, low.y}, weight.x, weight.y);
    multiply_add<T>(second, {high.z, low.z, high.w, low.w}, weight.z, weight.w);
  }
  template <typename T>
  __device__ void add(const uint4& weight, const uint4& inputs) {
    multiply_add<T>(first, {inputs.x, 0, inputs.y, 0}, weight.x, weight.y);
    multiply_add<T>(second, {inputs.z, 0, inputs.w, 0}, weight.z, weight.w);
  }
  [[nodiscard]] __device__ float2 total() const {
    return {first[0] + first[2] + (second[0] + second[2]),
            first[1] + first[3] + (second[1] + second[3])};
  }
};

/// Eight neighbouring inputs of a lane's token.
template <typename Shape>
__device__ uint4 token_inputs(const uint4* rows, int row_vectors, int piece, int lane) {
  const int token = lane / 4;
  return Shape::kTokens == 8 || token < Shape::kTokens
             ? rows[token * row_vectors + piece * 4 + lane % 4]
             : uint4{0, 0, 0, 0};
}

/// The sums of kFusedWarps / kStrips warps that share a strip, each with every so manieth of its
/// pieces; in `shared.sums` after the block's next barrier.
template <typename T, typename Shape, int kStrips>
__device__ void multiply_strips_of_tokens(const uint4* strips, const uint4* inputs,
                                          FusedShared& shared) {
  constexpr int kPieces = Shape::kPieces;
  constexpr int kApart = kFusedWarps / kStrips;
  constexpr int kRounds = (kPieces + kApart - 1) / kApart;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first = warp % kApart;
  const uint4* strip = strips + (warp / kApart * kPieces + first) * 32 + lane;
  TokenSums sums;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int piece = first + round * kApart;
    if (kPieces % kApart == 0 || piece < kPieces) {
      sums.add<T>(strip[round * kApart * 32], token_inputs<Shape>(inputs, Shape::kRow, piece, lane),
                  token_inputs<Shape>(inputs + Shape::kRows, Shape::kRow, piece, lane));
    }
  }
  shared.token_sums[warp][lane] = sums.total();
}

/// Multiplies with 1 … kMaxStrips strips, and gives the sums to `end`: in thread 32 · strip + 4 ·
/// token + pair, those of a pair of columns.
template <typename T, typename Shape, typename End>
__device__ void multiply_tokens(const uint4* strips, int count, const uint4* inputs,
                                FusedShared& shared, const End& end) {
  with_strips(count, [&](auto number) {
    constexpr int kStrips = decltype(number)::value;
    constexpr int kApart = kFusedWarps / kStrips;
    multiply_strips_of_tokens<T, Shape, kStrips>(strips, inputs, shared);
    __syncthreads();
    const int strip = static_cast<int>(threadIdx.x) / 32;
    if (strip < kStrips) {
      float2 sum{0.0F, 0.0F};
#pragma unroll
      for (int i = 0; i < kApart; ++i) {
        const float2 one = shared.token_sums[strip * kApart + i][threadIdx.x % 32];
        sum.x += one.x;
        sum.y += one.y;
      }
      end(sum);
    }
  });
}

template <typename Poll, int... kNumbers>
__device__ void poll_each(const Poll& poll, std::integer_sequence<int, kNumbers...> /*numbers*/) {
  (poll(std::integral_constant<int, kNumbers>{}), ...);
}
/// Calls `poll` with 0 … kCount − 1 as types.
template <int kCount, typename Poll>
__device__ void poll_each(const Poll& poll) {
  poll_each(poll, std::make_integer_sequence<int, kCount>{});
}

/// One strip, with 16-bit inputs of `tokens` tokens that are still on their way from other blocks,
/// as pairs. Each warp waits for its own pieces only and keeps them in its part of `room`. The sums
/// are in `shared.token_sums` after the block's next barrier.
template <typename T, typename Shape>
__device__ void multiply_arriving_tokens(const uint4* strip, const unsigned* pairs, int tokens,
                                         uint4* room, FusedShared& shared) {
  constexpr int kPieces = Shape::kInnerPieces;
  constexpr int kRounds = (kPieces + kFusedWarps - 1) / kFusedWarps;
  constexpr int kLanesRounds = 8;  // rounds that the warp's lanes look at once
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const auto piece_of = [&](int round) { return warp + round * kFusedWarps; };
#pragma unroll
  for (int first = 0; first < kRounds; first += kLanesRounds) {
    const int piece = piece_of(first + lane / 4);
    const auto arriving = receive_together<4 * Shape::kTokens>([&](auto& to) {
      poll_each<Shape::kTokens>([&](auto token) {
        if (piece < kPieces && token < tokens) {
          to.template poll_four<4 * decltype(token)::value>(pairs + token * (Shape::kInner / 2) +
                                                            (piece * 4 + lane % 4) * 4);
        }
      });
    });
    if (piece < kPieces) {
#pragma unroll
      for (int token = 0; token < Shape::kTokens; ++token) {
        const unsigned* words = arriving.words + 4 * token;
        room[token * Shape::kInnerRow + piece * 4 + lane % 4] = {words[0], words[1], words[2],
                                                                 words[3]};
      }
    }
  }
  __syncwarp();
  TokenSums sums[2];
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    if (kPieces % kFusedWarps == 0 || piece_of(round) < kPieces) {
      sums[round % 2].add<T>(strip[piece_of(round) * 32 + lane],
                             token_inputs<Shape>(room, Shape::kInnerRow, piece_of(round), lane));
    }
  }
  const float2 even = sums[0].total();
  const float2 odd = sums[1].total();
  shared.token_sums[warp][lane] = {even.x + odd.x, even.y + odd.y};
}

}  // namespace kvcache::kernels
