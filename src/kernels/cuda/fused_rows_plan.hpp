// How fused_rows.cu shares out its work: which columns a warp of a block computes, in which order
// their weights lie, and what a block has in shared memory. No CUDA.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/rounding.hpp"

namespace kvcache::kernels {

inline constexpr int kRowsWarps = 8;  // of a block
inline constexpr int kRowsThreads = 32 * kRowsWarps;
inline constexpr int kRowsBlocks = 2;  // that share a unit: a cluster
inline constexpr int kUnitWarps = kRowsBlocks * kRowsWarps;
inline constexpr int kRowsTileTokens = 16;  // of the matrix instruction
inline constexpr int kMostRowsTiles = 4;    // of a block
inline constexpr int kMostUnitTokens = kMostRowsTiles * kRowsTileTokens;
inline constexpr int kMostUnitTable = 512;  // blocks of the cache that a block's rows lie in
inline constexpr int kMostRowsHidden = 512;
inline constexpr int kMostRowsVocabulary = 1024;

inline constexpr int kTaskColumns = 16;  // of a product, that a warp computes at a time
inline constexpr int kStepInputs = 16;   // of a product, that a matrix instruction takes
inline constexpr int kStepVectors = 32;  // the weights of a step: 16 bytes each
inline constexpr int kStepsAtOnce = 4;   // whose weights a warp asks for together,
inline constexpr int kTimesAhead = 2;    // and how many times of them it has on their way
inline constexpr int kStepsAhead = kTimesAhead * kStepsAtOnce;
inline constexpr int kPaddedInputs = kStepsAhead * kStepInputs;

/// What a block multiplies with, in this order: the layer's four products layer after layer, and in
/// the end the head.
enum class RowsWeight { qkv, projection, expansion, contraction, head };
inline constexpr int kRowsOfLayer = 4;  // of them

/// A product as warps see it. A task is kTaskColumns columns; warp w of a unit has tasks w, w +
/// kUnitWarps, …
struct RowsProduct {
  int inputs = 0;
  int outputs = 0;

  /// Inputs behind the last have weights of zero.
  [[nodiscard]] constexpr int padded_inputs() const { return round_up(inputs, kPaddedInputs); }
  [[nodiscard]] constexpr int steps() const { return padded_inputs() / kStepInputs; }
  [[nodiscard]] constexpr int tasks() const { return divide_up(outputs, kTaskColumns); }
  [[nodiscard]] constexpr int tasks_of(int warp) const {
    return tasks() > warp ? divide_up(tasks() - warp, kUnitWarps) : 0;
  }
};

struct RowsSizes {
  int layers = 0;
  int hidden = 0;
  int inner = 0;  // of the feed-forward network
  int heads = 0;
  int vocab_size = 0;
  int max_seq_len = 0;

  [[nodiscard]] constexpr int head_dim() const { return hidden / heads; }
  [[nodiscard]] constexpr RowsProduct product(RowsWeight weight) const {
    switch (weight) {
      case RowsWeight::qkv:
        return {hidden, 3 * hidden};
      case RowsWeight::projection:
        return {hidden, hidden};
      case RowsWeight::expansion:
        return {hidden, inner};
      case RowsWeight::contraction:
        return {inner, hidden};
      case RowsWeight::head:
        break;
    }
    return {hidden, vocab_size};
  }
};

/// Where weights lie: each warp's in one piece, in the order of their use.
struct RowsStream {
  RowsSizes sizes;

  /// Steps of a warp in products of a layer before `weight`; with RowsWeight::head, in all four.
  [[nodiscard]] constexpr std::int64_t steps_before(RowsWeight weight, int warp) const {
    std::int64_t steps = 0;
    for (int w = 0; w < static_cast<int>(weight); ++w) {
      const RowsProduct product = sizes.product(static_cast<RowsWeight>(w));
      steps += std::int64_t{product.tasks_of(warp)} * product.steps();
    }
    return steps;
  }
  [[nodiscard]] constexpr std::int64_t warp_steps(int warp) const {
    const RowsProduct head = sizes.product(RowsWeight::head);
    return sizes.layers * steps_before(RowsWeight::head, warp) +
           std::int64_t{head.tasks_of(warp)} * head.steps();
  }
  [[nodiscard]] constexpr std::int64_t begin(int warp) const {
    std::int64_t steps = 0;
    for (int before = 0; before < warp; ++before) {
      steps += warp_steps(before);
    }
    return steps;
  }
  /// The first step of a task; of the head, `layer` is the number of layers.
  [[nodiscard]] constexpr std::int64_t at(int layer, RowsWeight weight, int task) const {
    const int warp = task % kUnitWarps;
    const std::int64_t of_layers = layer * steps_before(RowsWeight::head, warp);
    const std::int64_t before =
        weight == RowsWeight::head ? of_layers : of_layers + steps_before(weight, warp);
    return begin(warp) + before + std::int64_t{task / kUnitWarps} * sizes.product(weight).steps();
  }
  /// All warps read kStepsAhead steps too far.
  [[nodiscard]] constexpr std::int64_t steps() const { return begin(kUnitWarps) + kStepsAhead; }
};

/// Keys that a warp attends to at a time, and how many times of them are on their way to it: as
/// many as there is room for.
constexpr int keys_at_once(int head_dim, int tiles) {
  return tiles == 3 && head_dim == 64 ? 16 : 32;
}
constexpr int chunks_ahead(int head_dim, int tiles) {
  return std::min(4, (tiles == 3 ? 3072 : 4096) / head_dim / keys_at_once(head_dim, tiles));
}
constexpr int attention_bytes(int head_dim, int tiles) {
  return chunks_ahead(head_dim, tiles) * 2 * keys_at_once(head_dim, tiles) * head_dim * 2;
}

/// Shared memory of a block for so many tiles of tokens, in bytes. Rows of 16-bit elements are in
/// vectors of 16 bytes, a row's eights in an order of their own (swizzled()).
struct RowsLayout {
  int tiles;
  int residual_row;  // in floats
  int row_vectors;   // of the products' inputs but the contraction's, and of queries
  int inner_row_vectors;
  int logits_row;   // in elements of 16 bits
  int inputs_at;    // [tokens, hidden]: normalized, or what was attended
  int queries_at;   // [tokens, hidden]
  int changing_at;  // keys and values on their way, [tokens, inner], or logits
  int bytes;

  static constexpr RowsLayout of(const RowsSizes& sizes, int tiles) {
    const int tokens = tiles * kRowsTileTokens;
    RowsLayout layout{};
    layout.tiles = tiles;
    layout.residual_row = sizes.hidden + 8;  // eight rows lie on all banks
    layout.row_vectors = sizes.product(RowsWeight::qkv).padded_inputs() / 8;
    layout.inner_row_vectors = sizes.inner / 8;
    layout.logits_row = round_up(sizes.vocab_size, kTaskColumns) + 8;
    layout.inputs_at = round_up(4 * tokens * layout.residual_row, 128);
    layout.queries_at = layout.inputs_at + 16 * tokens * layout.row_vectors;
    layout.changing_at = layout.queries_at + 16 * tokens * layout.row_vectors;
    const int attention = kRowsWarps * attention_bytes(sizes.head_dim(), tiles);
    layout.bytes = layout.changing_at + std::max({attention, 16 * tokens * layout.inner_row_vectors,
                                                  2 * tokens * layout.logits_row});
    return layout;
  }
};

/// Where a vector of a row lies, so that the same vector of eight rows is on all banks.
constexpr int swizzled(int row, int vector) { return vector ^ (row & 7); }

/// Why the kernel is for no model of these sizes, or null.
constexpr const char* why_no_rows(const RowsSizes& sizes) {
  if (sizes.heads == 0 || sizes.hidden % sizes.heads != 0 ||
      (sizes.head_dim() != 8 && sizes.head_dim() != 16 && sizes.head_dim() != 32 &&
       sizes.head_dim() != 64)) {
    return "its heads are not of 8, 16, 32 or 64";
  }
  if (sizes.hidden % kTaskColumns != 0 || sizes.hidden > kMostRowsHidden) {
    return "its hidden size is no multiple of 32 up to 512";
  }
  if (sizes.inner % kPaddedInputs != 0) {
    return "its inner size is no multiple of 128";
  }
  if (sizes.vocab_size > kMostRowsVocabulary) {
    return "its vocabulary is larger than 1,024";
  }
  return nullptr;
}

}  // namespace kvcache::kernels
