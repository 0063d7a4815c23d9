// How the blocks of quantized_decoder.cu share a model's products, and where their weights lie.
#pragma once

#include <cstdint>

#include "kernels/cuda/fused_decoder_plan.hpp"

namespace kvcache::kernels {

/// What the weights of some products are. Those of a step's layers are of one kind, and the head's
/// of one.
struct QuantizedKind {
  int bits = 4;  // or 8
  bool minimums = false;
  int block_pieces = 1;  // kPieceInputs of a block of inputs, which share a scale

  /// A piece: values [32 lanes], of each kPieceInputs / 4 inputs of a column, then the columns'
  /// scales of 16 bits, and their minimums.
  [[nodiscard]] constexpr int value_bytes() const { return kPieceInputs * kStripColumns * bits / 8; }
  [[nodiscard]] constexpr int piece_bytes() const {
    return value_bytes() + 2 * kStripColumns * (minimums ? 2 : 1);
  }
  [[nodiscard]] constexpr int chunk_pieces() const;

  constexpr bool operator==(const QuantizedKind&) const = default;
};

/// That are copied together: of weights of 4 bits 32 pieces.
inline constexpr int kQuantizedChunkBytes = 4608;

constexpr int QuantizedKind::chunk_pieces() const { return kQuantizedChunkBytes / piece_bytes(); }

struct QuantizedDecoderSizes : DecoderSizes {
  QuantizedKind layer_kind;
  QuantizedKind head_kind;

  [[nodiscard]] constexpr const QuantizedKind& kind(DecoderProduct product) const {
    return product == DecoderProduct::head ? head_kind : layer_kind;
  }
};

/// The pieces of weights that a warp of a block multiplies with, as of DecoderStream; the head's
/// begin with a chunk of their own.
struct QuantizedDecoderStream {
  QuantizedDecoderSizes sizes;
  int block = 0;
  int blocks = 0;
  int warp = 0;

  [[nodiscard]] constexpr Share strips(DecoderProduct product) const {
    return Share::of(sizes.strips(product), block, blocks);
  }
  [[nodiscard]] constexpr Share slice(DecoderProduct product) const {
    return decoder_slice(sizes.pieces(product), sizes.kind(product).block_pieces, warp);
  }
  [[nodiscard]] constexpr int pieces(DecoderProduct product) const {
    return strips(product).count * slice(product).count;
  }
  [[nodiscard]] constexpr int layer_pieces() const {
    int pieces_of_layer = 0;
    for (int product = 0; product < kLayerProducts; ++product) {
      pieces_of_layer += pieces(static_cast<DecoderProduct>(product));
    }
    return pieces_of_layer;
  }
  [[nodiscard]] constexpr int layer_chunks() const {
    return divide_up(sizes.layers * layer_pieces(), sizes.layer_kind.chunk_pieces());
  }
  [[nodiscard]] constexpr int chunks() const {
    return layer_chunks() +
           divide_up(pieces(DecoderProduct::head), sizes.head_kind.chunk_pieces());
  }

  /// Where a piece of a strip of the block is in the stream, in bytes.
  [[nodiscard]] constexpr std::int64_t place(int layer, DecoderProduct product, int strip,
                                             int piece) const {
    const bool is_head = product == DecoderProduct::head;
    const Share inputs = slice(product);
    int at = (strip - strips(product).first) * inputs.count + piece - inputs.first;
    if (!is_head) {
      at += layer * layer_pieces();
      for (int before = 0; before < static_cast<int>(product); ++before) {
        at += pieces(static_cast<DecoderProduct>(before));
      }
    }
    const QuantizedKind& kind = sizes.kind(product);
    const int chunk = (is_head ? layer_chunks() : 0) + at / kind.chunk_pieces();
    return std::int64_t{chunk} * kQuantizedChunkBytes +
           std::int64_t{at % kind.chunk_pieces()} * kind.piece_bytes();
  }
};

/// Dynamic shared memory of a block, in bytes: the ring of weights, then inputs of products: their
/// integers, and behind them the scales and sums of their pieces. That is also where the warps'
/// attention meets.
constexpr DecoderShared quantized_decoder_shared(const DecoderSizes& sizes, int capacity) {
  const auto larger = [](int a, int b) { return a > b ? a : b; };
  constexpr int kPieceBlock = 8;  // bytes of a piece's scale and sum
  const int inputs =
      larger(sizes.inner, larger(sizes.hidden, sizes.heads * sizes.head_dim)) / kPieceInputs;
  const int room = round_up(larger(inputs * (kPieceInputs + kPieceBlock),
                                   kDecoderWarps * sizes.head_dim * 4),
                            128);
  constexpr int kRing = kDecoderWarps * kQuantizedChunkBytes;
  const int chunks = capacity < room ? 0 : (capacity - room) / kRing;
  if (chunks < 2) {
    return {};
  }
  DecoderShared shared;
  shared.chunks = chunks < kMaxChunks ? chunks : kMaxChunks;
  shared.inputs_at = shared.chunks * kRing;
  shared.bytes = shared.inputs_at + room;
  return shared;
}

}  // namespace kvcache::kernels
