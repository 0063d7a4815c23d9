// How the blocks of fused_decoder.cu share a model's products, and where their weights lie.
#pragma once

#include <cstdint>
#include <iterator>

#include "base/rounding.hpp"
#include "kernels/cuda/weight_strips.hpp"

namespace kvcache::kernels {

inline constexpr int kDecoderWarps = 8;  // of a block
inline constexpr int kDecoderThreads = 32 * kDecoderWarps;
inline constexpr int kChunkPieces = 8;  // that are copied together
inline constexpr int kChunkBytes = kChunkPieces * kPieceBytes;
inline constexpr int kMaxChunks = 16;    // of a warp in shared memory
inline constexpr int kGroupStrips = 16;  // whose sums a block ends together
inline constexpr int kMaxSplits = 16;    // of a sequence's past
inline constexpr int kDecoderUnit = 8;   // positions of a warp at once, of one block of the cache
inline constexpr int kMaxGroup = 8;      // query heads that share a head of keys
inline constexpr int kMaxDecoderTokens = 4;  // of a step

/// The products of a step, in the order of their use: those of a layer, and the logits.
enum class DecoderProduct { qkv, projection, expansion, contraction, head };
/// For the host; kernels count to kLayerProducts.
inline constexpr DecoderProduct kProductsOfLayer[] = {
    DecoderProduct::qkv, DecoderProduct::projection, DecoderProduct::expansion,
    DecoderProduct::contraction};
inline constexpr int kLayerProducts = static_cast<int>(std::size(kProductsOfLayer));

struct DecoderSizes {
  int layers = 0;
  int hidden = 0;
  int inner = 0;  // of the feed-forward network
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  bool gated = false;        // columns of gate and up alternate
  bool layer_norms = false;  // LayerNorm in place of RMSNorm

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
  /// Whether a norm is before it.
  [[nodiscard]] static constexpr bool normed(DecoderProduct product) {
    return product != DecoderProduct::projection && product != DecoderProduct::contraction;
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

/// What one of `several` has of all things, of which `together` are no two's; the last of these
/// may be less than there are.
constexpr Share shared_out(int all, int together, int one, int several) {
  const Share units = Share::of(divide_up(all, together), one, several);
  return {units.first * together, units.count * together};
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
    return shared_out(sizes.pieces(product), 1, warp, kDecoderWarps);
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

/// What a word of 32 bits holds of queries, keys, values, what was attended to and the feed-forward
/// network's inner results: two of 16 bits, or one of float32.
enum class ExchangeElements { pairs, floats };

/// Where in a layer's exchange (exchange.cuh) each result lies, in words of 32 bits. First of all
/// are the vectors of queries, keys and values, [vectors, head_dim].
struct DecoderExchange {
  int splits = 1;           // of the past
  int softmaxes = 0;        // [heads, splits]: largest, sum
  int attended = 0;         // [heads, splits, head_dim]
  int after_attention = 0;  // the residual stream then: [hidden], float32
  int expanded = 0;         // [inner]
  int after_layer = 0;      // [hidden], float32
  int layer_words = 0;
  int bests = 0;  // of the blocks, behind the last layer
  int words = 0;  // of a step

  static constexpr DecoderExchange of(const DecoderSizes& sizes, int splits, int blocks,
                                      ExchangeElements elements = ExchangeElements::pairs) {
    const int of_word = elements == ExchangeElements::pairs ? 2 : 1;
    DecoderExchange at;
    at.splits = splits;
    at.softmaxes = sizes.vectors() * sizes.head_dim / of_word;
    at.attended = at.softmaxes + round_up(2 * sizes.heads * splits, 4);
    at.after_attention = at.attended + sizes.heads * splits * sizes.head_dim / of_word;
    at.expanded = at.after_attention + sizes.hidden;
    at.after_layer = at.expanded + sizes.inner / of_word;
    at.layer_words = at.after_layer + sizes.hidden;
    at.bests = sizes.layers * at.layer_words;
    at.words = round_up(at.bests + 2 * blocks, 4);
    return at;
  }
};

/// Where in a layer's vectors each lies: norms' weights, then biases, which are in the order of the
/// packed columns. -1: there is none.
struct DecoderVectors {
  int norms[2] = {};  // before the attention, before the feed-forward network
  int query_norm = -1;
  int key_norm = -1;
  int biases[kLayerProducts] = {-1, -1, -1, -1};
  int elements = 0;

  static constexpr DecoderVectors of(const DecoderSizes& sizes, bool query_key_norms,
                                     const bool (&biases)[kLayerProducts]) {
    DecoderVectors at;
    const auto take = [&](int size) {
      const int begin = at.elements;
      at.elements += round_up(size, kStripColumns);
      return begin;
    };
    at.norms[0] = take(sizes.hidden);
    at.norms[1] = take(sizes.hidden);
    if (query_key_norms) {
      at.query_norm = take(sizes.head_dim);
      at.key_norm = take(sizes.head_dim);
    }
    for (int product = 0; product < kLayerProducts; ++product) {
      if (biases[product]) {
        at.biases[product] = take(sizes.outputs(static_cast<DecoderProduct>(product)));
      }
    }
    return at;
  }
};

/// Where what LayerNorm makes of columns behind it lies, in pairs of them: of each layer that of
/// queries, keys and values, then of the expansion, and behind the last layer that of the logits.
struct NormedColumns {
  int expansion = 0;  // in a layer
  int of_layer = 0;
  int count = 0;

  static constexpr NormedColumns of(const DecoderSizes& sizes) {
    const auto pairs = [&](DecoderProduct product) {
      return sizes.strips(product) * (kStripColumns / 2);
    };
    NormedColumns at;
    at.expansion = pairs(DecoderProduct::qkv);
    at.of_layer = at.expansion + pairs(DecoderProduct::expansion);
    at.count = sizes.layers * at.of_layer + pairs(DecoderProduct::head);
    return at;
  }
  /// Where a product's begin; of the head, `layer` is `layers`.
  [[nodiscard]] constexpr int begin(int layer, DecoderProduct product) const {
    return layer * of_layer + (product == DecoderProduct::expansion ? expansion : 0);
  }
};

/// Dynamic shared memory of a block, in bytes: the ring of weights, then inputs of products, which
/// is also where the warps' attention meets.
struct DecoderShared {
  int chunks = 0;  // of a warp; 0: a step does not fit
  int inputs_at = 0;
  int bytes = 0;

  static constexpr DecoderShared of(const DecoderSizes& sizes, int capacity, int tokens = 1) {
    const auto larger = [](int a, int b) { return a > b ? a : b; };
    // Inputs of 16 bits, and what rounding took from them; of several tokens not of the inner
    // results, which come rounded.
    const int inputs = tokens * larger((tokens == 1 ? 4 : 2) * sizes.inner,
                                       4 * larger(sizes.hidden, sizes.heads * sizes.head_dim));
    const int attention =
        larger(kDecoderWarps * sizes.group(), sizes.group() + 2 * tokens) * sizes.head_dim * 4;
    const int room = round_up(larger(inputs, attention), 128);
    return of(room, kDecoderWarps * kChunkBytes, capacity);
  }

  /// Of a ring whose chunks of all warps have so many bytes, and room for other things.
  static constexpr DecoderShared of(int room, int ring_bytes, int capacity) {
    const int chunks = capacity < room ? 0 : (capacity - room) / ring_bytes;
    if (chunks < 2) {
      return {};
    }
    DecoderShared shared;
    shared.chunks = chunks < kMaxChunks ? chunks : kMaxChunks;
    shared.inputs_at = shared.chunks * ring_bytes;
    shared.bytes = shared.inputs_at + room;
    return shared;
  }
};

/// Parts of a past: as many as its attention has blocks for, but a unit of eight positions for each
/// warp.
constexpr int splits_of_past(const DecoderSizes& sizes, int past, int blocks) {
  constexpr int kPositions = kDecoderUnit * kDecoderWarps;
  const int wanted = divide_up(past, kPositions);
  const int most = blocks / sizes.kv_heads < kMaxSplits ? blocks / sizes.kv_heads : kMaxSplits;
  return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

/// Positions of each split of a sequence, the new one included; the last may have fewer.
constexpr int positions_of_split(int length, int splits) {
  return round_up(divide_up(length, splits), kDecoderUnit);
}

}  // namespace kvcache::kernels
