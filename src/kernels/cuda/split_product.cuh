// What a warp of linear_split.cu multiplies: 32 columns by tiles of eight tokens, 16 inputs at a
// time.
//
// Of the instruction m16n8k8 lane 4·g + t has rows g and g + 8 and inputs t and t + 4 (PTX ISA,
// "Matrix Fragments for mma.m16n8k8"). Rows are columns of the weight here: of the 32, lane g has
// 4g to 4g + 3, two in each of two instructions. Inputs are 4t to 4t + 3 of the 16, two in each of
// two.
#pragma once

#include "kernels/cuda/split.cuh"
#include "kernels/cuda/tile_sums.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels::split_product {

constexpr int kWarpColumns = 32;
constexpr int kTileTokens = 8;
constexpr int kChunk = 16;  // inputs

/// A lane's four inputs of four columns and of a token of each tile.
template <int kTiles>
struct Chunk {
  float4 weights[4];
  float4 tokens[kTiles];
};

__device__ inline float element(const float4& four, int i) {
  return i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w;
}

__device__ inline float4 load_four(const float* from) {
  return __ldg(reinterpret_cast<const float4*>(from));
}

/// Weights [ceil(outputs / 64), inputs, 64].
class PanelWeights {
 public:
  static constexpr bool kIsHead = false;

  __device__ PanelWeights(const float* weight, int inputs, int /*outputs*/, int column, int lane)
      : at_(weight +
            (std::int64_t{column / kPanelColumns} * inputs + lane % 4 * 4) * kPanelColumns +
            column % kPanelColumns + lane / 4 * 4) {}

  __device__ void load(int chunk, float4 (&weights)[4]) const {
#pragma unroll
    for (int input = 0; input < 4; ++input) {
      weights[input] = load_four(at_ + (std::int64_t{chunk} * kChunk + input) * kPanelColumns);
    }
  }

  __device__ static float get(const float4 (&weights)[4], int input, int column) {
    return element(weights[input], column);
  }

 private:
  const float* at_;
};

/// Weights [outputs, inputs].
class RowWeights {
 public:
  static constexpr bool kIsHead = true;

  __device__ RowWeights(const float* weight, int inputs, int outputs, int column, int lane)
      : weight_(weight + lane % 4 * 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      rows_[i] = std::int64_t{min(column + lane / 4 * 4 + i, outputs - 1)} * inputs;
    }
  }

  __device__ void load(int chunk, float4 (&weights)[4]) const {
#pragma unroll
    for (int column = 0; column < 4; ++column) {
      weights[column] = load_four(weight_ + rows_[column] + chunk * kChunk);
    }
  }

  __device__ static float get(const float4 (&weights)[4], int input, int column) {
    return element(weights[column], input);
  }

 private:
  const float* weight_;
  std::int64_t rows_[4];
};

/// Tokens [tokens, inputs]; the last one stands for those behind it.
template <int kTiles>
class Tokens {
 public:
  __device__ Tokens(const float* x, int inputs, int tokens, int first, int lane)
      : x_(x + lane % 4 * 4) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      rows_[tile] = min(first + tile * kTileTokens + lane / 4, tokens - 1) * inputs;
    }
  }

  __device__ void load(int chunk, float4 (&tokens)[kTiles]) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      tokens[tile] = *reinterpret_cast<const float4*>(x_ + rows_[tile] + chunk * kChunk);
    }
  }

 private:
  const float* x_;
  int rows_[kTiles];
};

/// Of each tile four columns of two tokens.
template <int kTiles>
class Sums {
 public:
  template <class Weights>
  __device__ void add(const Chunk<kTiles>& chunk) {
    Split weights[4][4];  // [input][column]
#pragma unroll
    for (int input = 0; input < 4; ++input) {
#pragma unroll
      for (int column = 0; column < 4; ++column) {
        weights[input][column] = Split::of(Weights::get(chunk.weights, input, column));
      }
    }
    // Sums that do not wait for each other take turns.
    constexpr int kTogether = kTiles % 2 == 0 ? 2 : 1;
#pragma unroll
    for (int first = 0; first < kTiles; first += kTogether) {
      FourSplit tokens[kTogether];
#pragma unroll
      for (int tile = 0; tile < kTogether; ++tile) {
        tokens[tile] = FourSplit(chunk.tokens[first + tile]);
      }
      float sums[kTogether][2][4] = {};
      add_products([&](auto of_weight, auto of_token) {
#pragma unroll
        for (int input = 0; input < 4; input += 2) {
#pragma unroll
          for (int two = 0; two < 2; ++two) {
#pragma unroll
            for (int tile = 0; tile < kTogether; ++tile) {
              multiply_add_tf32(
                  sums[tile][two], weights[input][2 * two].*of_weight,
                  weights[input][2 * two + 1].*of_weight, weights[input + 1][2 * two].*of_weight,
                  weights[input + 1][2 * two + 1].*of_weight, tokens[tile].of[input].*of_token,
                  tokens[tile].of[input + 1].*of_token);
            }
          }
        }
      });
#pragma unroll
      for (int tile = 0; tile < kTogether; ++tile) {
#pragma unroll
        for (int two = 0; two < 2; ++two) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            sums_[first + tile][two][i] += sums[tile][two][i];
          }
        }
      }
    }
  }

  /// To [tokens, stride] in shared memory.
  __device__ void store(float* to, int stride, int lane) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      store_tile(sums_[tile], to + tile * kTileTokens * stride, stride, lane);
    }
  }

 private:
  float sums_[kTiles][2][4] = {};
};

}  // namespace kvcache::kernels::split_product
