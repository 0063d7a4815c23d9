// What a block of linear_by_tile.cu has of a product: its part of a tile of tokens, of a panel's
// weights and of the sums.
#pragma once

#include <cstdint>

#include "base/rounding.hpp"
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels::linear_tile {

constexpr int kThreads = 256;
constexpr int kColumns = 64;  // of a panel
constexpr int kColumnsOfWarp = 16;
constexpr int kWarpsOfColumns = kThreads / 32 / (kColumns / kColumnsOfWarp);  // that share columns
constexpr int kPad = 8;  // elements behind a row in shared memory: no bank conflicts
constexpr int kVector = 8;
constexpr int kMaxTile = 64;       // tokens
constexpr int kMaxResults = 4;     // of a thread
constexpr int kNormedVectors = 8;  // of a thread, at most

/// Warps with the same columns share the tokens of a large tile, the inputs of a small one.
template <int kTokens>
constexpr int kTokenShares = kTokens >= 32 ? kWarpsOfColumns : 1;
template <int kTokens>
constexpr int kInputShares = kWarpsOfColumns / kTokenShares<kTokens>;

/// Of a block, in this order: weights, tokens, norm, sums, moments.
template <typename T, int kTokens>
struct SharedLayout {
  int inputs;  // of the block's part
  int parts;   // blocks of the cluster

  static constexpr int kWeightStride = kColumns + kPad;
  static constexpr int kSumStride = kTokens + 2;  // of a column

  [[nodiscard]] __host__ __device__ int token_stride() const { return inputs + kPad; }
  [[nodiscard]] __host__ __device__ int tokens_at() const { return inputs * kWeightStride; }
  [[nodiscard]] __host__ __device__ int norm_at() const {  // weight, then bias
    return tokens_at() + kTokens * token_stride();
  }
  [[nodiscard]] __host__ __device__ std::size_t sums_at() const {  // in bytes, on 16
    return static_cast<std::size_t>(norm_at() + 2 * inputs) * sizeof(T);
  }
  /// [parts · kInputShares, kColumns / parts, kSumStride]
  [[nodiscard]] __host__ __device__ std::size_t moments_at() const {
    return sums_at() + sizeof(float) * kInputShares<kTokens> * kColumns * kSumStride;
  }
  /// [parts, kTokens]
  [[nodiscard]] __host__ __device__ std::size_t bytes() const {
    return moments_at() + sizeof(float2) * static_cast<std::size_t>(parts) * kTokens;
  }
};

/// A thread's part of a token: a team of neighbouring threads has each, every one 16 bytes of it at
/// a time.
template <typename T, int kTokens>
struct Share {
  static constexpr int kTeam = kThreads / kTokens;
  static constexpr int kStep = kTeam * kVector;
  int token;  // of the tile
  int first;  // input

  __device__ Share()
      : token(static_cast<int>(threadIdx.x) / kTeam),
        first(static_cast<int>(threadIdx.x) % kTeam * kVector) {}

  /// To shared memory, on its way; zeros where there is no token.
  __device__ void bring(const T* row, bool exists, int inputs, T* to) const {
    to += first;
    row += first;
#pragma unroll 4
    for (int i = first; i < inputs; i += kStep) {
      copy_or_clear(to, row, exists);
      to += kStep;
      row += kStep;
    }
  }
};

/// The same on its way through the norm, in registers.
template <typename T, int kTokens>
class NormedShare {
 public:
  __device__ NormedShare(const Share<T, kTokens>& share, const T* row, int inputs)
      : first_(share.first), inputs_(inputs) {
#pragma unroll
    for (int v = 0; v < kNormedVectors; ++v) {
      if (has(v)) {
        x_[v] = Vector<T>::load(row + at(v));
      }
    }
  }

  /// The token's sum and its sum of squares, about `origin`; in all of the team.
  [[nodiscard]] __device__ float2 moment(float origin) const {
    float2 moment{0.0F, 0.0F};
#pragma unroll
    for (int v = 0; v < kNormedVectors; ++v) {
      if (has(v)) {
        float values[kVector];
        widen(x_[v], values);
        float2 own{0.0F, 0.0F};
#pragma unroll
        for (const float value : values) {
          own.x += value - origin;
          own.y += (value - origin) * (value - origin);
        }
        moment.x += own.x;
        moment.y += own.y;
      }
    }
    constexpr int kTeam = Share<T, kTokens>::kTeam;
    return {sum_of_lanes<kTeam>(moment.x), sum_of_lanes<kTeam>(moment.y)};
  }

  /// (x − shift) · scale · weight + bias to shared memory.
  __device__ void normalize(float shift, float scale, const T* weight, const T* bias, T* to) const {
#pragma unroll
    for (int v = 0; v < kNormedVectors; ++v) {
      if (has(v)) {
        float values[kVector];
        float weights[kVector];
        widen(x_[v], values);
        widen(Vector<T>::load(weight + at(v)), weights);
        float biases[kVector] = {};
        if (bias != nullptr) {
          widen(Vector<T>::load(bias + at(v)), biases);
        }
#pragma unroll
        for (int c = 0; c < kVector; ++c) {
          values[c] = (values[c] - shift) * scale * weights[c] + biases[c];
        }
        rounded_to<T>(values).store(to + at(v));
      }
    }
  }

 private:
  [[nodiscard]] __device__ int at(int v) const { return first_ + v * Share<T, kTokens>::kStep; }
  [[nodiscard]] __device__ bool has(int v) const { return at(v) < inputs_; }

  int first_;
  int inputs_;
  Vector<T> x_[kNormedVectors];
};

/// Sums of a warp's 16 columns and its tokens over its inputs.
template <typename T, int kTokens>
class WarpProduct {
 public:
  static constexpr int kWarpTokens = kTokens / kTokenShares<kTokens>;
  static constexpr int kEights = kWarpTokens / 8;
  float sums[kEights][4] = {};

  /// `weights`: the warp's columns of its first inputs, `tokens`: its tokens of them.
  __device__ WarpProduct(const T* weights, const T* tokens, int token_stride)
      : weights_(weights), tokens_(tokens), token_stride_(token_stride) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    weights_ += (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8;
    if constexpr (kEights == 1) {
      tokens_ += lane / 4 * token_stride + lane % 4 * 2;
    } else {
      tokens_ += (lane % 8 + lane / 16 * 8) * token_stride + lane / 8 % 2 * 8;
    }
  }

  /// Sixteen inputs after the other; the next are on their way while these are multiplied.
  __device__ void add(int inputs) {
    if (inputs <= 0) {
      return;
    }
    Factors even(*this, 0);
    for (int i = 0; i < inputs; i += 32) {
      const bool has_odd = i + 16 < inputs;
      const Factors odd(*this, has_odd ? i + 16 : i);
      multiply(even);
      if (has_odd) {
        even = Factors(*this, i + 32 < inputs ? i + 32 : i);
        multiply(odd);
      }
    }
  }

 private:
  static constexpr int kStride = SharedLayout<T, kTokens>::kWeightStride;
  static constexpr int kSixteens = kEights == 1 ? 1 : kEights / 2;

  /// Of 16 inputs: the weights, transposed, 16 columns; tokens, by sixteens.
  struct Factors {
    unsigned left[4];
    unsigned right[kSixteens][4];

    __device__ Factors(const WarpProduct& of, int i) {
      load_transposed(of.weights_ + i * kStride, left);
      if constexpr (kEights == 1) {
        right[0][0] = pair_at(of.tokens_ + i);
        right[0][1] = pair_at(of.tokens_ + i + 8);
      } else {
#pragma unroll
        for (int n = 0; n < kSixteens; ++n) {
          load_matrices(of.tokens_ + n * 16 * of.token_stride_ + i, right[n]);
        }
      }
    }
  };

  __device__ void multiply(const Factors& factors) {
#pragma unroll
    for (int eight = 0; eight < kEights; ++eight) {
      multiply_add<T>(sums[eight], factors.left, factors.right[eight / 2][eight % 2 * 2],
                      factors.right[eight / 2][eight % 2 * 2 + 1]);
    }
  }

  const T* weights_;
  const T* tokens_;
  int token_stride_;
};

/// A thread's share of what its block finishes: a column of some tokens.
template <typename T, int kTokens>
class Results {
 public:
  /// The bias and residuals are on their way. `columns_shift`: the bits of the block's columns.
  __device__ Results(const LinearCudaArgs<T>& args, int columns_shift, std::int64_t first_token,
                     std::int64_t first_column)
      : args_(args),
        columns_(1 << columns_shift),
        own_(static_cast<int>(threadIdx.x) & (columns_ - 1)),
        token_(static_cast<int>(threadIdx.x) >> columns_shift),
        step_(kThreads >> columns_shift) {
    const std::int64_t column = first_column + own_;
    const std::int64_t tokens = min(args.tokens - first_token, std::int64_t{kTokens});
    existing_ = column < args.outputs ? static_cast<int>(tokens) : 0;
    at_ = (first_token + token_) * args.outputs + column;
    if (existing_ > 0 && args.bias != nullptr) {
      bias_ = bits_at(args.bias + column);
    }
    if (args.residual != nullptr) {
#pragma unroll
      for (int i = 0; i < kMaxResults; ++i) {
        if (token_ + i * step_ < existing_) {
          residuals_[i] = bits_at(args.residual + at_ + i * step_ * args.outputs);
        }
      }
    }
  }

  /// `sums`: [sources, own columns, kSumStride]
  __device__ void finish(const float* sums, int sources) const {
    constexpr int kSumStride = SharedLayout<T, kTokens>::kSumStride;
    float values[kMaxResults] = {};
    sums += own_ * kSumStride + token_;
#pragma unroll 4
    for (int source = 0; source < sources; ++source) {
#pragma unroll
      for (int i = 0; i < kMaxResults; ++i) {
        if (token_ + i * step_ < existing_) {
          values[i] += sums[i * step_];
        }
      }
      sums += columns_ * kSumStride;
    }
    const float bias = args_.bias != nullptr ? value_of(bias_) : 0.0F;
#pragma unroll
    for (int i = 0; i < kMaxResults; ++i) {
      if (token_ + i * step_ < existing_) {
        float value = values[i] + bias;
        value = args_.gelu ? gelu_tanh(value) : value;
        args_.out[at_ + i * step_ * args_.outputs] =
            from_float<T>(args_.residual != nullptr ? value_of(residuals_[i]) + value : value);
      }
    }
  }

 private:
  __device__ static unsigned bits_at(const T* from) {
    return *reinterpret_cast<const std::uint16_t*>(from);
  }
  __device__ static float value_of(unsigned bits) {
    const auto own = static_cast<std::uint16_t>(bits);
    return to_float(*reinterpret_cast<const T*>(&own));
  }

  const LinearCudaArgs<T>& args_;
  int columns_;
  int own_;       // column of the block
  int token_;     // the first, of the tile
  int step_;      // to the next
  int existing_;  // tokens of the tile; none where there is no column
  std::int64_t at_;
  unsigned bias_ = 0;  // the bits, in a register of their own: nobody waits for them
  unsigned residuals_[kMaxResults] = {};
};

}  // namespace kvcache::kernels::linear_tile
