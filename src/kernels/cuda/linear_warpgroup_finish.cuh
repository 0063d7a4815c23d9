// What a block of linear_by_warpgroup.cu does with its sums: the bias, the activation or gate, the
// residual.
#pragma once

#include <cstdint>

#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/linear_warpgroup.cuh"

namespace kvcache::kernels::linear_warpgroup {

__device__ inline unsigned bits_of_pair(const void* pair) {
  return *static_cast<const unsigned*>(pair);
}

/// A barrier of the block without the warp that brings.
template <typename Layout>
__device__ void wait_for_multipliers() {
  asm volatile("barrier.sync 1, %0;" ::"n"(Layout::kThreads) : "memory");
}

/// One block has all inputs: a thread finishes what it has summed up.
template <typename T, After kAfter, typename Layout>
class Finish {
 public:
  /// What is added is on its way.
  __device__ Finish(const Product& product, const LinearCudaArgs<T>& args, const Tile<Layout>& tile)
      : product_(product),
        args_(args),
        lane_(static_cast<int>(threadIdx.x) % 32),
        token_(static_cast<int>(threadIdx.x) / 32 * 16 + lane_ / 4),
        tokens_(tile.tokens),
        column_(static_cast<int>(blockIdx.x) * kWarpgroupColumns + lane_ % 4 * 2) {
    at_ = std::int64_t{tile.first_token + token_} * args.outputs + column_;
    if (args.bias != nullptr) {
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int eight = 0; eight < kEights; ++eight) {
          if (column_ + eight * 8 < product.outputs) {
            biases_[m][eight] = bits_of_pair(args.bias + m * args.outputs + column_ + eight * 8);
          }
        }
      }
    }
  }

  /// What an earlier kernel wrote is on its way too.
  __device__ void ask_for_residual() {
    if (args_.residual != nullptr) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (token_ + half * 8 < tokens_) {
          const T* const row = args_.residual + at_ + half * 8 * args_.outputs;
#pragma unroll
          for (int eight = 0; eight < kEights; ++eight) {
            if (column_ + eight * 8 < product_.outputs) {
              residuals_[half][eight] = bits_of_pair(row + eight * 8);
            }
          }
        }
      }
    }
  }

  __device__ void operator()(const WarpgroupSums (&sums)[Layout::kMatrices]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (token_ + half * 8 < tokens_) {
        T* const row = args_.out + at_ + half * 8 * args_.outputs;
#pragma unroll
        for (int eight = 0; eight < kEights; ++eight) {
          const int i = eight * 4 + half * 2;
          float2 values = sum(sums[0][i], sums[0][i + 1], biases_[0][eight]);
          if constexpr (has_gate(kAfter)) {
            values = {product_.gate(values.x), product_.gate(values.y)};
          }
          if constexpr (kAfter == After::gate) {
            const float2 up = sum(sums[1][i], sums[1][i + 1], biases_[1][eight]);
            values = {values.x * up.x, values.y * up.y};
          }
          values = sum(values.x, values.y, residuals_[half][eight]);
          if constexpr (kAfter == After::logits) {  // of any number: pairs lie on any address
            store_each(values, column_ + eight * 8, row + eight * 8);
          } else if (column_ + eight * 8 < product_.outputs) {
            *reinterpret_cast<typename Pair<T>::type*>(row + eight * 8) =
                Pair<T>::rounded(values.x, values.y);
          }
        }
      }
    }
  }

 private:
  static constexpr int kMatrices = Layout::kMatrices;
  static constexpr int kEights = kWarpgroupColumns / 8;

  __device__ static float2 sum(float first, float second, unsigned bits) {
    const float2 added = Pair<T>::widened(*reinterpret_cast<const typename Pair<T>::type*>(&bits));
    return {first + added.x, second + added.y};
  }

  __device__ void store_each(const float2& values, int column, T* to) const {
    if (column < product_.outputs) {
      to[0] = from_float<T>(values.x);
    }
    if (column + 1 < product_.outputs) {
      to[1] = from_float<T>(values.y);
    }
  }

  const Product& product_;
  const LinearCudaArgs<T>& args_;
  int lane_;
  int token_;
  int tokens_;
  int column_;
  std::int64_t at_;
  unsigned biases_[kMatrices][kEights] = {};  // bits: nobody waits for them
  unsigned residuals_[2][kEights] = {};
};

/// The blocks of a cluster have parts of the inputs, and each finishes a part of the tokens.
template <typename T, After kAfter, typename Layout>
class FinishTogether {
 public:
  __device__ FinishTogether(const Product& product, const LinearCudaArgs<T>& args,
                            const Tile<Layout>& tile)
      : product_(product),
        args_(args),
        tile_(tile),
        parts_(static_cast<int>(gridDim.z)),
        token_(static_cast<int>(threadIdx.x) / kVectors),
        column_(static_cast<int>(threadIdx.x) % kVectors * kVector) {
    const int column = static_cast<int>(blockIdx.x) * kWarpgroupColumns + column_;
    own_tokens_ = column < product.outputs ? tile.tokens_of(tile.part) : 0;
    at_ = std::int64_t{tile.first_token + token_ * parts_ + tile.part} * args.outputs + column;
    if (column < product.outputs && args.bias != nullptr) {
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
        biases_[m] = *reinterpret_cast<const uint4*>(args.bias + m * args.outputs + column);
      }
    }
  }

  /// What an earlier kernel wrote is on its way too.
  __device__ void ask_for_residual() {
    if (args_.residual != nullptr && token_ < own_tokens_) {
      residual_ = *reinterpret_cast<const uint4*>(args_.residual + at_);
    }
  }

  /// `own`: where this block's sums may lie, `others`: where those of the others come.
  __device__ void operator()(const WarpgroupSums (&sums)[Layout::kMatrices], float* own,
                             float* others, CopyBarrier& there) {
    const int thread = static_cast<int>(threadIdx.x);
    const int rows = Layout::kTokens / parts_;  // of a block
    // Banks of their own for tokens side by side, which go to different blocks.
    const int part_sums = rows * Layout::kSumStride + (parts_ == 2 ? 16 : kVector);
    const int lane = thread % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = thread / 32 * 16 + lane / 4 + half * 8;
      float* to = own + (token & (parts_ - 1)) * part_sums +
                  (token >> tile_.parts_shift) * Layout::kSumStride + lane % 4 * 2;
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int eight = 0; eight < kWarpgroupColumns / 8; ++eight) {
          *reinterpret_cast<float2*>(to + m * kWarpgroupColumns + eight * 8) = {
              sums[m][eight * 4 + half * 2], sums[m][eight * 4 + half * 2 + 1]};
        }
      }
    }
    let_copies_read();
    wait_for_multipliers<Layout>();
    if (thread < parts_ && thread != tile_.part && tile_.tokens_of(thread) > 0) {
      there.copy_to_block(
          others + tile_.part * part_sums, own + thread * part_sums,
          static_cast<unsigned>(tile_.tokens_of(thread) * Layout::kSumStride * sizeof(float)),
          static_cast<unsigned>(thread));
    }
    own += tile_.part * part_sums;
    there.wait_for_cluster(0);
    arrive_at_cluster();
#pragma unroll 1
    for (int token = token_; token < own_tokens_; token += kStep) {
      float values[kMatrices][kVector];
      const int at = token * Layout::kSumStride + column_;
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
        widen(*reinterpret_cast<const Vector<T>*>(&biases_[m]), values[m]);
      }
#pragma unroll 1
      for (int part = 0; part < parts_; ++part) {
        const float* from = part == tile_.part ? own : others + part * part_sums;
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
          for (int c = 0; c < kVector; c += 4) {
            const float4 four =
                *reinterpret_cast<const float4*>(from + at + m * kWarpgroupColumns + c);
            values[m][c] += four.x;
            values[m][c + 1] += four.y;
            values[m][c + 2] += four.z;
            values[m][c + 3] += four.w;
          }
        }
      }
      float added[kVector];
      widen(*reinterpret_cast<const Vector<T>*>(&residual_), added);
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        float value = values[0][c];
        if constexpr (has_gate(kAfter)) {
          value = product_.gate(value);
        }
        if constexpr (kAfter == After::gate) {
          value *= values[1][c];
        }
        added[c] += value;
      }
      rounded_to<T>(added).store(args_.out + at_);
      at_ += std::int64_t{kStep} * parts_ * args_.outputs;
      if (args_.residual != nullptr && token + kStep < own_tokens_) {
        residual_ = *reinterpret_cast<const uint4*>(args_.residual + at_);
      }
    }
    wait_for_cluster();  // this block's sums have been copied out of it
  }

 private:
  static constexpr int kMatrices = Layout::kMatrices;
  static constexpr int kThreads = Layout::kThreads;
  static constexpr int kVectors = kWarpgroupColumns / kVector;  // of a token
  static constexpr int kStep = kThreads / kVectors;

  const Product& product_;
  const LinearCudaArgs<T>& args_;
  const Tile<Layout>& tile_;
  int parts_;
  int token_;  // of those that this block finishes
  int column_;
  int own_tokens_;
  std::int64_t at_;
  uint4 biases_[kMatrices] = {};
  uint4 residual_{};
};

}  // namespace kvcache::kernels::linear_warpgroup
