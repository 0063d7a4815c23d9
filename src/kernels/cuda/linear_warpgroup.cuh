// What a block of linear_by_warpgroup.cu has of a product, how it comes to shared memory and is
// multiplied.
#pragma once

#include <cstdint>

#include "base/rounding.hpp"
#include "kernels/activation.hpp"
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/tensor_map.hpp"
#include "kernels/cuda/warpgroup_product.cuh"

namespace kvcache::kernels::linear_warpgroup {

constexpr int kRowInputs = 64;  // of a row in shared memory
constexpr int kVector = 8;      // elements
constexpr int kMostStages = 8;

/// x · sigmoid(linear · x + cubic · x³), which is silu and the tanh approximation of gelu: one code
/// for both, and a short one.
struct Gate {
  float linear;
  float cubic;

  explicit Gate(Activation activation)
      : linear(activation == Activation::gelu_tanh ? 1.5957691216F : 1.0F),
        cubic(activation == Activation::gelu_tanh ? 0.0713548163F : 0.0F) {}

  [[nodiscard]] __device__ float operator()(float x) const {
    constexpr float kLog2E = 1.4426950409F;
    const float inner = x * (linear + cubic * x * x);
    return __fdividef(x, 1.0F + exp2_of(-kLog2E * inner));
  }
};

/// What is done to sums. Those of a head are logits, and its weight has rows of inputs.
enum class After { nothing, activation, gate, logits };

constexpr bool has_gate(After after) { return after == After::activation || after == After::gate; }

/// Panels of a block.
constexpr int matrices_of(After after) { return after == After::gate ? 2 : 1; }

/// Grid: panels, tiles of tokens, parts of the inputs.
struct Product {
  CUtensorMap x{};       // [inputs / 64, tokens, 64]
  CUtensorMap weight{};  // [panels, inputs, 64], or a head's [inputs / 64, outputs, 64]
  int tokens;
  int inputs;
  int outputs;
  int parts_shift;  // their number is a power of two
  int stages;
  unsigned token_bytes;  // of a row of all tokens that are copied
  Gate gate;
};

/// Of a block: stages of x and weight; where the inputs are in parts, the sums that others sent.
/// What it sends itself lies where the stages were.
template <After kAfter, int kGroups>
struct SharedLayout {
  static constexpr int kMatrices = matrices_of(kAfter);
  static constexpr bool kWeightHasInputs = kAfter == After::logits;  // in its rows
  /// Of a token and a piece: large pieces are few copies to ask for, small ones come sooner.
  static constexpr int kRows = kMatrices == 1 && kGroups == 1 ? 2 : 1;
  static constexpr int kPiece = kRows * kRowInputs;      // inputs
  static constexpr int kThreads = kGroups * kWarpgroup;  // that multiply
  static constexpr int kTokens = kGroups * kWarpgroupRows;
  static constexpr unsigned kTokenBytes = kRows * kTokens * kSwizzledBytes;
  static constexpr unsigned kWeightBytes = kMatrices * kPiece * kSwizzledBytes;
  static constexpr unsigned kStageBytes = kTokenBytes + kWeightBytes;
  static constexpr int kSumStride = kMatrices * kWarpgroupColumns + kVector;  // of a token
  static constexpr unsigned kSumBytes =
      (kTokens * kSumStride + kMaxCluster * kVector) * sizeof(float);
  static constexpr unsigned kAlignment = 1024;
  static constexpr int kFewestStages = divide_up(kSumBytes, kStageBytes);

  static constexpr std::size_t bytes(int stages, int parts) {
    return std::size_t{kAlignment} + stages * kStageBytes + (parts > 1 ? kSumBytes : 0);
  }
};

/// Of the ring, and how often it was gone around.
struct Stage {
  int index = 0;
  unsigned parity = 0;

  __device__ void next(int stages) {
    if (++index == stages) {
      index = 0;
      parity ^= 1U;
    }
  }
};

/// A tile on its way to shared memory (PTX ISA, "cp.async.bulk.tensor").
__device__ void copy_tile(void* to, const CUtensorMap& map, int row, int matrix,
                          CopyBarrier& there) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))),
      "l"(&map), "r"(static_cast<unsigned>(__cvta_generic_to_shared(&there))), "r"(0), "r"(row),
      "r"(matrix)
      : "memory");
#endif
}

__device__ void expect_map(const CUtensorMap& map) {
#if __CUDA_ARCH__ >= 900
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#endif
}

/// What a block has to do.
template <typename Layout>
struct Tile {
  int part = static_cast<int>(blockIdx.z);
  int first_token = static_cast<int>(blockIdx.y) * Layout::kTokens;
  int tokens;
  int first_piece;
  int pieces;
  int parts_shift;

  __device__ explicit Tile(const Product& product)
      : tokens(min(product.tokens - first_token, Layout::kTokens)),
        parts_shift(product.parts_shift) {
    const int all = divide_up(product.inputs, Layout::kPiece);
    first_piece = part * all >> parts_shift;
    pieces = ((part + 1) * all >> parts_shift) - first_piece;
  }

  /// Every `parts`-th token is finished by the same block.
  [[nodiscard]] __device__ int tokens_of(int other) const {
    return (tokens - other + static_cast<int>(gridDim.z) - 1) >> parts_shift;
  }
};

/// By one warp.
template <typename Layout>
__device__ void bring(const Product& product, const Tile<Layout>& tile, std::byte* shared,
                      CopyBarrier* full, CopyBarrier* empty) {
  const auto bring_weight = [&](int piece, int stage) {
    full[stage].expect(Layout::kRows * product.token_bytes + Layout::kWeightBytes);
    const int inputs = tile.first_piece + piece;
    const auto panel = static_cast<int>(blockIdx.x);
    copy_tile(shared + stage * Layout::kStageBytes + Layout::kTokenBytes, product.weight,
              Layout::kWeightHasInputs ? panel * kWarpgroupColumns : inputs * Layout::kPiece,
              Layout::kWeightHasInputs ? inputs * Layout::kRows : panel * Layout::kMatrices,
              full[stage]);
  };
  const auto bring_tokens = [&](int piece, int stage) {
    copy_tile(shared + stage * Layout::kStageBytes, product.x, tile.first_token,
              (tile.first_piece + piece) * Layout::kRows, full[stage]);
  };
  const int at_once = min(tile.pieces, product.stages);
#pragma unroll 1
  for (int piece = 0; piece < at_once; ++piece) {
    bring_weight(piece, piece);
  }
  wait_for_previous_kernel();
#pragma unroll 1
  for (int piece = 0; piece < at_once; ++piece) {
    bring_tokens(piece, piece);
  }
  Stage stage;
#pragma unroll 1
  for (int piece = at_once; piece < tile.pieces; ++piece) {
    empty[stage.index].wait(stage.parity);
    bring_weight(piece, stage.index);
    bring_tokens(piece, stage.index);
    stage.next(product.stages);
  }
}

/// By a warpgroup: the sums of its 64 tokens.
template <typename T, typename Layout, int kMatrices>
__device__ void multiply(WarpgroupSums (&sums)[kMatrices], const Product& product, int pieces,
                         unsigned shared_address, int group, CopyBarrier* full,
                         CopyBarrier* empty) {
  Stage stage;
  int before = 0;
#pragma unroll 1
  for (int piece = 0; piece < pieces; ++piece) {
    const unsigned at = shared_address + stage.index * Layout::kStageBytes;
    const unsigned token_at = at + group * kWarpgroupRows * kSwizzledBytes;
    const WarpgroupFactor weight(at + Layout::kTokenBytes);
    full[stage.index].wait(stage.parity);
    begin_products();
#pragma unroll
    for (unsigned row = 0; row < Layout::kRows; ++row) {
      const WarpgroupFactor x(token_at + row * product.token_bytes);
#pragma unroll
      for (unsigned i = 0; i < kRowInputs / 16; ++i) {
#pragma unroll
        for (unsigned m = 0; m < kMatrices; ++m) {
          constexpr unsigned kStep =
              Layout::kWeightHasInputs ? WarpgroupFactor::kStepInRow : WarpgroupFactor::kStepOfRows;
          multiply_by_warpgroup<T, Layout::kWeightHasInputs>(
              sums[m], x.at(i * WarpgroupFactor::kStepInRow),
              weight.at((m * Layout::kPiece + row * kRowInputs) * kSwizzledBytes + i * kStep),
              piece > 0 || row > 0 || i > 0);
        }
      }
    }
    commit_products();
    wait_for_products_but<1>();  // the piece before has been read
    if (threadIdx.x % 32 == 0 && piece > 0) {
      empty[before].arrive();
    }
    before = stage.index;
    stage.next(product.stages);
  }
  wait_for_products_but<0>();
}

}  // namespace kvcache::kernels::linear_warpgroup
