// How the blocks of quantized_decoder.cu share a model's products, and where their weights lie.
#pragma once

#include <cstdint>

#include "kernels/cuda/fused_decoder_plan.hpp"

namespace kvcache::kernels {

inline constexpr int kUnitPieces = 8;      // of inputs: what a warp multiplies at once
inline constexpr int kStripsTogether = 2;  // what the matrix instruction multiplies

/// What the weights of some products are. Those of a step's layers are of one kind, and the head's
/// of one.
struct QuantizedKind {
  int bits = 4;  // or 8
  bool minimums = false;
  int block_pieces = 1;  // kPieceInputs of a block of inputs, which share a scale

  /// Of a strip and a piece of inputs: values, then the columns' scales of 16 bits and minimums.
  [[nodiscard]] constexpr int value_bytes() const {
    return kPieceInputs * kStripColumns * bits / 8;
  }
  [[nodiscard]] constexpr int scale_bytes() const { return 2 * kStripColumns * (minimums ? 2 : 1); }
  [[nodiscard]] constexpr int piece_bytes() const { return value_bytes() + scale_bytes(); }
  [[nodiscard]] constexpr int unit_strips() const { return kStripsTogether * (bits == 8 ? 1 : 2); }
  [[nodiscard]] constexpr int unit_bytes() const {
    return unit_strips() * kUnitPieces * piece_bytes();
  }

  constexpr bool operator==(const QuantizedKind&) const = default;
};

struct QuantizedDecoderSizes : DecoderSizes {
  QuantizedKind layer_kind;
  QuantizedKind head_kind;

  [[nodiscard]] constexpr const QuantizedKind& kind(DecoderProduct product) const {
    return product == DecoderProduct::head ? head_kind : layer_kind;
  }

  /// Whether one block has all that a block of the contraction's inputs is made of, so that it
  /// rounds them before it hands them over: where no block has more strips for that.
  [[nodiscard]] constexpr bool hands_over_rounded(int blocks) const {
    const int whole = strips_of_block();
    return gated && whole <= kGroupStrips && strips(DecoderProduct::expansion) % whole == 0 &&
           whole * Share::most(strips(DecoderProduct::expansion) / whole, blocks) <=
               kStripsTogether *
                   Share::most(divide_up(strips(DecoderProduct::expansion), kStripsTogether),
                               blocks);
  }

  /// Strips of a product that no two blocks share.
  [[nodiscard]] constexpr int strips_together(DecoderProduct product, int blocks) const {
    return product == DecoderProduct::expansion && hands_over_rounded(blocks) ? strips_of_block()
                                                                              : kStripsTogether;
  }

 private:
  /// Of the expansion, that a block of the contraction's inputs is made of.
  [[nodiscard]] constexpr int strips_of_block() const {
    return layer_kind.block_pieces * kPieceInputs * 2 / kStripColumns;
  }
};

/// Pieces of a unit, which has `pieces` with inputs.
constexpr int padded_pieces(int pieces) { return round_up(pieces, kUnitPieces / 2); }

/// Where a unit has a lane's weights with a piece of inputs, of one of two strips, in words of 32
/// bits: what the lane loads together, 16 bytes, is of both strips, of 4 bits with two pieces. The
/// lane has column lane / 4 and eight inputs of it, of 8 bits in two words.
constexpr int word_of_pair(int bits, int piece, int lane, int strip, int word) {
  const int load = bits == 8 ? piece : piece / 2;
  const int of_load = bits == 8 ? 2 * word + strip : piece % 2 * 2 + strip;
  return (load * 32 + lane) * 4 + of_load;
}

/// The weights that a warp of a block multiplies with, as of DecoderStream, in units: some strips
/// with some pieces of inputs, all pieces of those strips before the next strips. The last pieces
/// of a slice are filled up to half a unit; a block has two strips together, of the logits maybe
/// one more than there are.
struct QuantizedDecoderStream {
  QuantizedDecoderSizes sizes;
  int block = 0;
  int blocks = 0;
  int warp = 0;

  /// Where a unit has a piece of a strip, in bytes of the stream.
  struct Place {
    std::int64_t values;  // of the strip and its neighbour, word_of_pair()
    std::int64_t scales;  // of the strip, [kStripColumns, pieces], minimums behind them
    int piece;            // of the unit
    int pieces;
  };

  [[nodiscard]] constexpr Share strips(DecoderProduct product) const {
    return shared_out(sizes.strips(product), sizes.strips_together(product, blocks), block, blocks);
  }
  [[nodiscard]] constexpr Share slice(DecoderProduct product) const {
    return shared_out(sizes.pieces(product), sizes.kind(product).block_pieces, warp, kDecoderWarps);
  }
  [[nodiscard]] constexpr std::int64_t bytes(DecoderProduct product) const {
    return std::int64_t{strips(product).count} * padded_pieces(slice(product).count) *
           sizes.kind(product).piece_bytes();
  }
  [[nodiscard]] constexpr std::int64_t layer_bytes() const {
    std::int64_t bytes_of_layer = 0;
    for (int product = 0; product < kLayerProducts; ++product) {
      bytes_of_layer += bytes(static_cast<DecoderProduct>(product));
    }
    return bytes_of_layer;
  }
  [[nodiscard]] constexpr std::int64_t bytes() const {
    return sizes.layers * layer_bytes() + bytes(DecoderProduct::head);
  }

  /// Of the head, `layer` is `layers`.
  [[nodiscard]] constexpr Place place(int layer, DecoderProduct product, int strip,
                                      int piece) const {
    const QuantizedKind& kind = sizes.kind(product);
    const Share own = strips(product);
    const Share inputs = slice(product);
    std::int64_t at = layer * layer_bytes();
    if (product != DecoderProduct::head) {
      for (int before = 0; before < static_cast<int>(product); ++before) {
        at += bytes(static_cast<DecoderProduct>(before));
      }
    }
    const int first_strip = (strip - own.first) / kind.unit_strips() * kind.unit_strips();
    const int first_piece = (piece - inputs.first) / kUnitPieces * kUnitPieces;
    const auto lesser = [](int a, int b) { return a < b ? a : b; };
    const int unit_strips = lesser(own.count - first_strip, kind.unit_strips());
    const int unit_pieces = lesser(padded_pieces(inputs.count) - first_piece, kUnitPieces);
    at += (std::int64_t{first_strip} * padded_pieces(inputs.count) +
           std::int64_t{unit_strips} * first_piece) *
          kind.piece_bytes();
    const int of_unit = strip - own.first - first_strip;
    Place place{};
    place.piece = piece - inputs.first - first_piece;
    place.pieces = unit_pieces;
    place.values = at + std::int64_t{of_unit / kStripsTogether} * kStripsTogether * unit_pieces *
                            kind.value_bytes();
    place.scales = at + std::int64_t{unit_strips} * unit_pieces * kind.value_bytes() +
                   std::int64_t{of_unit} * unit_pieces * kind.scale_bytes();
    return place;
  }
};

/// How inner results are handed over that a block has rounded, in words of the exchange from
/// DecoderExchange::expanded on: values, four in a word, and behind them each piece's scale and
/// sum. None of the words is kNotYet: no value is −128, and twice a sum is even.
namespace rounded_exchange {

inline constexpr unsigned kFlipped = 0x7F7F7F7FU;  // makes words without −128 others than kNotYet

constexpr int value_word(int input) { return input / 4; }
constexpr int block_word(int inner, int piece) { return inner / 4 + 2 * piece; }
/// A value among the four of its word.
constexpr unsigned byte_of(int value, int input) {
  return (static_cast<unsigned>(value) & 0xFFU) << 8U * (static_cast<unsigned>(input) % 4);
}
constexpr unsigned to_send(unsigned four) { return four ^ kFlipped; }
constexpr unsigned received(unsigned word) { return word ^ kFlipped; }
constexpr int sum_to_send(int sum) { return 2 * sum; }
constexpr int received_sum(int word) { return word / 2; }

}  // namespace rounded_exchange

/// Warps that share the positions of a query head, of as many units of eight positions: a few are
/// one warp's.
constexpr int warps_of_head(const DecoderSizes& sizes, int units) {
  constexpr int kUnitsToShare = 4;
  return units < kUnitsToShare ? 1 : kDecoderWarps / sizes.group();
}

/// Dynamic shared memory of a block, in bytes: the ring of weights, a unit in each slot, then
/// inputs of products: their integers, and behind them the scales and sums of their pieces. That is
/// also where the warps' attention meets.
constexpr DecoderShared quantized_decoder_shared(const QuantizedDecoderSizes& sizes, int capacity,
                                                 int tokens = 1) {
  const auto larger = [](int a, int b) { return a > b ? a : b; };
  constexpr int kPieceBlock = 8;  // bytes of a piece's scale and sum
  const int inputs =
      larger(sizes.inner, larger(sizes.hidden, sizes.heads * sizes.head_dim)) / kPieceInputs;
  const int room = round_up(
      larger(tokens * inputs * (kPieceInputs + kPieceBlock), kDecoderWarps * sizes.head_dim * 4),
      128);
  const int slot = larger(sizes.layer_kind.unit_bytes(), sizes.head_kind.unit_bytes());
  return DecoderShared::of(room, kDecoderWarps * slot, capacity);
}

}  // namespace kvcache::kernels
