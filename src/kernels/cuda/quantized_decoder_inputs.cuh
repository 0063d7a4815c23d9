// Inputs of a quantised decoder's products, rounded to int8, and a warp's sums of them with its
// weights, on the tensor cores' integer product m16n8k32.
//
// The instruction has 16 rows for outputs and 8 columns for tokens, and there are few tokens. So
// each of eight pieces of a token's inputs, which have scales of their own, has a column to itself:
// of every instruction only one column of inputs is not zero, and after eight of them a lane has
// the exact sums of two pieces with two outputs. Only then are they multiplied with scales.
#pragma once

#include "kernels/cuda/decoder_block.cuh"
#include "kernels/cuda/quantized_decoder.hpp"
#include "kernels/cuda/quantized_tokens.cuh"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {

/// A token's pieces of inputs in shared memory, integers and then blocks, one per piece: what they
/// are multiplied with, and what is added to the sums of their products (ColumnBlock). A warp
/// writes and reads its own slice only.
class RoundedInputs {
 public:
  __device__ RoundedInputs(unsigned char* room, int pieces, int token)
      : values_(reinterpret_cast<uint2*>(room + token * bytes(pieces))),
        blocks_(
            reinterpret_cast<ColumnBlock*>(room + token * bytes(pieces) + pieces * kPieceInputs)) {}

  __device__ static constexpr int bytes(int pieces) {
    return pieces * (kPieceInputs + static_cast<int>(sizeof(ColumnBlock)));
  }

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
        put_block(piece, kind, finite ? scale : nanf(""), rounded.sum);
      }
    }
  }

  /// Half a piece that has been rounded, and a piece's block.
  __device__ void put_half(int piece, int half, const uint4& values) {
    reinterpret_cast<uint4*>(values_)[2 * piece + half] = values;
  }
  __device__ void put_block(int piece, const QuantizedKind& kind, float scale, int sum) {
    blocks_[piece] = {scale, kind.minimums ? sum : -(kind.bits == 8 ? 128 : 8) * sum};
  }

  /// The lane's of piece lane / 4 behind `first`, or zeros where there are only `count` pieces.
  [[nodiscard]] __device__ uint2 values(int first, int count) const {
    return lane() / kLanes < count ? values_[first * kLanes + lane()] : uint2{0, 0};
  }
  [[nodiscard]] __device__ ColumnBlock block(int piece, int first, int count) const {
    return piece < count ? blocks_[first + piece] : ColumnBlock{0.0F, 0};
  }

 private:
  static constexpr int kLanes = 4;  // of a piece
  [[nodiscard]] __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  uint2* values_;
  ColumnBlock* blocks_;
};

/// The inputs of a unit as a lane has them.
struct UnitInputs {
  // Of the instruction for each piece: zeros but for the piece's column. Of 4 bits two neighbouring
  // pieces have two instructions together, the first of which is for the lower halves of a word's
  // bytes, the other for the upper ones.
  uint2 columns[kUnitPieces];
  float scales[2];  // of pieces 2 · (lane % 4) and the next
  int sums[2];      // ColumnBlock::offset of these
  int pieces;       // that there are
  bool has[2];      // whether these are among them

  __device__ void load(const RoundedInputs& inputs, int first, int count, bool by_halves) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    pieces = count < kUnitPieces ? count : kUnitPieces;
    const uint2 own = inputs.values(first, count);
#pragma unroll
    for (int piece = 0; piece < kUnitPieces; piece += 2) {
      const bool is_first = lane / 4 == piece;
      const bool is_second = lane / 4 == piece + 1;
      const uint2 one{is_first ? own.x : 0, is_first ? own.y : 0};
      const uint2 other{is_second ? own.x : 0, is_second ? own.y : 0};
      columns[piece] = {one.x, by_halves ? other.x : one.y};
      columns[piece + 1] = {by_halves ? one.y : other.x, other.y};
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int piece = lane % 4 * 2 + i;
      const ColumnBlock block = inputs.block(piece, first, count);
      scales[i] = block.scale;
      sums[i] = block.offset;
      has[i] = piece < count;
    }
  }
};

/// A warp's sums of a unit's strips: a lane has some of column lane / 4 of each, for each token.
/// kPairCount: of strips, at most. kFull: the unit has all of its pieces.
template <int kBits, bool kMinimums, int kPairCount, bool kFull, int kTokens>
class UnitSums {
 public:
  static constexpr int kStrips = kStripsTogether * kPairCount;

  /// Of a unit of `strips` strips and `count` pieces. A slot has room for as many as there may be,
  /// and those that are not there are nobody's sums. `inputs_of(token)` gives a token's UnitInputs.
  template <typename InputsOf>
  __device__ Loads add(const unsigned char* unit, int count, int strips,
                       const InputsOf& inputs_of) {
    constexpr QuantizedKind kKind{.bits = kBits, .minimums = kMinimums};
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int padded = kFull ? kUnitPieces : padded_pieces(min(count, kUnitPieces));
    const int strip_bytes = padded * kKind.value_bytes();
    Loads loads;
    Words words[kFull ? 2 : 1];
    if constexpr (kFull) {
      load_half<0>(unit, strip_bytes, lane, words[0], loads);
      load_half<1>(unit, strip_bytes, lane, words[1], loads);
    }
    for_tokens<kTokens>([&](auto token) {
      add(unit, padded, strips, inputs_of(token), words, loads, total_[token]);
    });
    return loads;
  }

  /// To `to`, pairs of columns of each token, a strip's kSumsOfStripOf<kTokens> from the next's.
  __device__ void store(int strips, float2* to) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for_tokens<kTokens>([&](auto token) {
      float(&total)[kStrips] = total_[token];
      // The four lanes that have sums of the same column share the strips out.
      int own = share_sums<kStrips / 2, 2>(total);
      if constexpr (kStrips == 4) {
        own += share_sums<1, 1>(total);
      } else {
        total[0] += __shfl_xor_sync(kAllLanes, total[0], 1);
      }
      if (own < strips && (kStrips == 4 || lane % 2 == 0)) {
        reinterpret_cast<float*>(to + own * kSumsOfStripOf<kTokens> +
                                 token * (kStripColumns / 2))[lane / 4] = total[0];
      }
    });
  }

 private:
  static constexpr int kPairs = kPairCount;
  static constexpr int kHalf = kUnitPieces / 2;
  static constexpr int kLoadPieces = kBits == 8 ? 1 : 2;  // of a load of 16 bytes

  /// A lane's weights with four pieces.
  struct Words {
    uint4 of[kPairs][kHalf / kLoadPieces];
  };

  /// A token's.
  __device__ static void add(const unsigned char* unit, int padded, int strips,
                             const UnitInputs& inputs, Words (&words)[kFull ? 2 : 1], Loads& loads,
                             float (&totals)[kStrips]) {
    constexpr QuantizedKind kKind{.bits = kBits, .minimums = kMinimums};
    const int lane = static_cast<int>(threadIdx.x) % 32;
    // Two chains of instructions for each pair of strips; of 4 bits, the second one's products are
    // with 16 times the weights.
    int sums[kPairs][2][4] = {};
    if constexpr (!kMinimums) {
#pragma unroll
      for (auto& chains : sums) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          chains[0][i] = inputs.sums[i % 2];
        }
      }
    }
    const int strip_bytes = padded * kKind.value_bytes();
    if constexpr (kFull) {
      add_half<0>(words[0], inputs, sums);
      add_half<1>(words[1], inputs, sums);
    } else {
      load_half<0>(unit, strip_bytes, lane, words[0], loads);
      add_half<0>(words[0], inputs, sums);
      if (padded > kHalf) {
        load_half<1>(unit, strip_bytes, lane, words[0], loads);
        add_half<1>(words[0], inputs, sums);
      }
    }
    // Two pieces' scales of the lane's column.
    const unsigned char* scales_at =
        unit + strips * strip_bytes + (lane / 4 * padded + lane % 4 * 2) * 2;
    const int minimums_at = 2 * kStripColumns * padded;
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
      const float2 scales = pair_at(scales_at, inputs, loads);
      float total = totals[strip];
      const auto add_piece = [&](int i, float scale) {
        const int at = strip % kStripsTogether * 2 + i;
        const int(&chains)[2][4] = sums[strip / kStripsTogether];
        const int sum = chains[0][at] + (kBits == 8 ? chains[1][at] : chains[1][at] >> 4);
        total = fmaf(static_cast<float>(sum) * inputs.scales[i], scale, total);
      };
      add_piece(0, scales.x);
      add_piece(1, scales.y);
      if constexpr (kMinimums) {
        const float2 minimums = pair_at(scales_at + minimums_at, inputs, loads);
        total = fmaf(static_cast<float>(inputs.sums[0]) * inputs.scales[0], minimums.x, total);
        total = fmaf(static_cast<float>(inputs.sums[1]) * inputs.scales[1], minimums.y, total);
      }
      totals[strip] = total;
      scales_at += padded * kKind.scale_bytes();
    }
  }

  template <int kNumber>
  __device__ static void load_half(const unsigned char* unit, int strip_bytes, int lane,
                                   Words& words, Loads& loads) {
#pragma unroll
    for (int load = 0; load < kHalf / kLoadPieces; ++load) {
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const auto* const from =
            reinterpret_cast<const uint4*>(unit + pair * kStripsTogether * strip_bytes);
        words.of[pair][load] = from[(kNumber * (kHalf / kLoadPieces) + load) * 32 + lane];
        loads.add(words.of[pair][load]);
      }
    }
  }

  /// With these pieces' inputs.
  template <int kNumber>
  __device__ static void add_half(const Words& words, const UnitInputs& inputs,
                                  int (&sums)[kPairs][2][4]) {
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        unsigned outputs[4];
        outputs_of_piece(words.of[pair][i / kLoadPieces], i % kLoadPieces, outputs);
        multiply_add_bytes(sums[pair][i % 2], outputs, inputs.columns[kNumber * kHalf + i]);
      }
    }
  }

  /// The instruction's outputs for `i` of a load's pieces; of 4 bits, for the halves of both.
  __device__ static void outputs_of_piece(const uint4& words, int i, unsigned (&outputs)[4]) {
    const unsigned of_words[4]{words.x, words.y, words.z, words.w};
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      outputs[word] = kBits == 8 ? of_words[word] : of_words[word] & (0x0F0F0F0FU << 4U * i);
    }
  }

  /// Zeros where there are no such pieces.
  [[nodiscard]] __device__ static float2 pair_at(const unsigned char* halves,
                                                 const UnitInputs& inputs, Loads& loads) {
    const auto word = *reinterpret_cast<const unsigned*>(halves);
    loads.add(word);
    const float2 pair = values_of<__half>(word);
    return {kFull || inputs.has[0] ? pair.x : 0.0F, kFull || inputs.has[1] ? pair.y : 0.0F};
  }

  float total_[kTokens][kStrips] = {};
};

}  // namespace kvcache::kernels
