// How the blocks of fused_decoder.cu share a model's products, and where their weights lie.
#pragma once

#include <cstdint>

#include "base/rounding.hpp"
#include "kernels/cuda/fused_layers_plan.hpp"

namespace kvcache::kernels {

inline constexpr int kDecoderWarps = 16;  // of a block
inline constexpr int kDecoderThreads = 32 * kDecoderWarps;
inline constexpr int kChunkPieces = 4;  // that are copied together
inline constexpr int kChunkBytes = kChunkPieces * kPieceBytes;
inline constexpr int kMaxChunks = 8;     // of a warp in shared memory
inline constexpr int kGroupStrips = 16;  // whose sums a block ends together
inline constexpr int kMaxSplits = 16;    // of a sequence's past
inline constexpr int kMaxGroup = 8;      // query heads that share a head of keys

/// The products of a step, in the order of their use: those of a layer, and the logits.
enum class DecoderProduct { qkv, projection, expansion, contraction, head };
inline constexpr int kLayerProducts = 4;

struct DecoderSizes {
  int layers = 0;
  int hidden = 0;
  int inner = 0;  // of the feed-forward network
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  bool gated = false;  // columns of gate and up alternate

  [[nodiscard]] constexpr int vectors() const { return heads + 2 * kv_heads; }
  [[nodiscard]] constexpr int group() const { return heads / kv_heads; }
  [[nodiscard]] constexpr int inputs(DecoderProduct product) const {
    return product == DecoderProduct::projection    ? heads * head_dim
           : product == DecoderProduct::contraction ? inner
                                                    : hidden;
  }
  [[nodiscard]] constexpr int outputs(DecoderProduct product) const {
    switch (product) {
      case DecoderProduct::qkv:
        return vectors() * head_dim;
      case DecoderProduct::expansion:
        return gated ? 2 * inner : inner;
      case DecoderProduct::head:
        return vocab_size;
      default:
        return hidden;
    }
  }
  [[nodiscard]] constexpr int strips(DecoderProduct product) const {
    return divide_up(outputs(product), kStripColumns);
  }
  [[nodiscard]] constexpr int pieces(DecoderProduct product) const {
    return inputs(product) / kPieceInputs;
  }
};

/// The one of `several` that has thing number `thing` of `all` (Share).
constexpr int owner_of(int thing, int all, int several) {
  return ((thing + 1) * several - 1) / all;
}

/// The pieces of weights that a warp of a block multiplies with, one after the other through the
/// whole step: layer by layer, product by product, strip by strip. A block has some strips of each
/// product, each of its warps some of their inputs.
struct DecoderStream {
  DecoderSizes sizes;
  int block = 0;
  int blocks = 0;
  int warp = 0;

  [[nodiscard]] constexpr Share strips(DecoderProduct product) const {
    return Share::of(sizes.strips(product), block, blocks);
  }
  [[nodiscard]] constexpr Share slice(DecoderProduct product) const {
    return Share::of(sizes.pieces(product), warp, kDecoderWarps);
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
  [[nodiscard]] constexpr int chunks() const {
    return divide_up(sizes.layers * layer_pieces() + pieces(DecoderProduct::head), kChunkPieces);
  }

  /// Where a piece of a strip of the block is in the stream; of the head, `layer` is `layers`.
  [[nodiscard]] constexpr int place(int layer, DecoderProduct product, int strip, int piece) const {
    int at = layer * layer_pieces();
    if (product != DecoderProduct::head) {
      for (int before = 0; before < static_cast<int>(product); ++before) {
        at += pieces(static_cast<DecoderProduct>(before));
      }
    }
    const Share inputs = slice(product);
    return at + (strip - strips(product).first) * inputs.count + piece - inputs.first;
  }
};

/// Where in a layer's exchange (exchange.cuh) each result lies, in words of 32 bits.
struct DecoderExchange {
  DecoderSizes sizes;
  int splits = 1;  // of the past

  [[nodiscard]] constexpr int qkv() const { return 0; }  // [vectors, head_dim], pairs
  [[nodiscard]] constexpr int softmaxes() const {        // [heads, splits]: largest, sum
    return sizes.vectors() * sizes.head_dim / 2;
  }
  [[nodiscard]] constexpr int attended() const {  // [heads, splits, head_dim], pairs
    return softmaxes() + round_up(2 * sizes.heads * splits, 4);
  }
  [[nodiscard]] constexpr int after_attention() const {  // [hidden], float32
    return attended() + sizes.heads * splits * sizes.head_dim / 2;
  }
  [[nodiscard]] constexpr int expanded() const {  // [inner], pairs
    return after_attention() + sizes.hidden;
  }
  [[nodiscard]] constexpr int after_layer() const {  // [hidden], float32
    return expanded() + sizes.inner / 2;
  }
  [[nodiscard]] constexpr int layer_words() const { return after_layer() + sizes.hidden; }
  [[nodiscard]] constexpr int bests() const { return sizes.layers * layer_words(); }
  /// Of a step of so many blocks.
  [[nodiscard]] constexpr int words(int blocks) const { return round_up(bests() + 2 * blocks, 4); }
};

/// Vectors of a layer in one piece: norms' weights, then biases.
struct DecoderVectors {
  DecoderSizes sizes;
  bool query_key_norms = false;
  bool biases[kLayerProducts] = {};

  [[nodiscard]] constexpr int norm(int number) const { return number * sizes.hidden; }
  [[nodiscard]] constexpr int query_norm() const { return 2 * sizes.hidden; }
  [[nodiscard]] constexpr int key_norm() const { return query_norm() + sizes.head_dim; }
  /// Of a product, in the order of its packed columns.
  [[nodiscard]] constexpr int bias(DecoderProduct product) const {
    int at = query_norm() + (query_key_norms ? 2 * sizes.head_dim : 0);
    for (int before = 0; before < static_cast<int>(product); ++before) {
      at += biases[before] ? sizes.outputs(static_cast<DecoderProduct>(before)) : 0;
    }
    return at;
  }
  [[nodiscard]] constexpr int elements() const {
    return round_up(bias(DecoderProduct::head), kStripColumns);
  }
};

/// Dynamic shared memory of a block, in bytes: the ring of weights, then inputs of products, which
/// is also where the warps' attention meets.
struct DecoderShared {
  int chunks = 0;  // of a warp; 0: a step does not fit
  int inputs_at = 0;
  int bytes = 0;

  static constexpr DecoderShared of(const DecoderSizes& sizes, int capacity) {
    const auto larger = [](int a, int b) { return a > b ? a : b; };
    // Inputs of 16 bits, and, but for those of the contraction, what rounding took from them.
    const int inputs =
        larger(2 * sizes.inner, 4 * larger(sizes.hidden, sizes.heads * sizes.head_dim));
    const int attention = kDecoderWarps * sizes.group() * sizes.head_dim * 4;
    const int room = round_up(larger(inputs, attention), 128);
    constexpr int kRing = kDecoderWarps * kChunkBytes;
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
};

/// Parts of a past: as many as its attention has blocks for, but 128 positions each.
constexpr int splits_of_past(const DecoderSizes& sizes, int past, int blocks) {
  constexpr int kPositions = 8 * kDecoderWarps;
  const int wanted = divide_up(past, kPositions);
  const int most = blocks / sizes.kv_heads < kMaxSplits ? blocks / sizes.kv_heads : kMaxSplits;
  return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

}  // namespace kvcache::kernels
