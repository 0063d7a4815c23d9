// How a thread block of quantized_linear_few.cu norms and rounds its tokens.
#pragma once

#include "kernels/cuda/quantized_few_weights.cuh"
#include "kernels/cuda/quantized_tokens.cuh"

namespace kvcache::kernels::quantized_few {

/// The tokens' inputs of a thread block's part, normed and rounded, eight neighbouring ones a
/// thread. What does not come from the kernel before is on its way before that has ended.
template <class Layout, int kLevels, Blocks kBlocks>
class Rounding {
 public:
  static constexpr int kTokens = Layout::kAllColumns / kLevels;

  /// `first`: of the part's inputs, `count` of them.
  __device__ Rounding(const ProductArgs& args, int first, int count)
      : args_(args), tokens_(kTokens == 1 ? 1 : args.tokens), first_(first), count_(count) {
    load_norm(Place(*this, static_cast<int>(threadIdx.x)));
  }

  /// Of columns that no token has, whatever is there: nobody looks at their sums.
  __device__ void operator()(const Layout& layout, std::byte* shared) {
    __shared__ float2 moments[kTokens][kWarps];
    const bool norms = args_.norm.weight != nullptr;
    auto at = static_cast<int>(threadIdx.x);
    Place place(*this, at);
    float x[8];
    load(row_of(place.token), place, x);
    if (norms) {
#pragma unroll
      for (int token = 0; token < kTokens; ++token) {
        if (token < tokens_) {
          const float2 of_warp = moments_of_warp(row_of(token));
          if (threadIdx.x % 32 == 0) {
            moments[token][threadIdx.x / 32] = of_warp;
          }
        }
      }
      __syncthreads();
    }
    const int all = round_up(tokens_ * (count_ / 8), 32);  // whole warps, whose lanes share blocks
#pragma unroll 1
    while (at < all) {
      if (norms) {
        const float2 shift_scale =
            shift_and_scale(row_of(place.token), moments[kTokens == 1 ? 0 : place.token]);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          x[i] = (x[i] - shift_scale.x) * shift_scale.y * weight_[i] + bias_[i];
        }
      }
      round(x, layout, place, shared);
      at += kThreads;
      if (at < all) {
        place = Place(*this, at);
        load(row_of(place.token), place, x);
        load_norm(place);
      }
    }
  }

 private:
  /// The `at`-th eight inputs of all tokens'.
  struct Place {
    int token = 0;
    int own;  // the first of the eight, in the part
    bool exists;

    __device__ Place(const Rounding& of, int at) : own(at * 8) {
#pragma unroll
      for (int i = 1; i < kTokens; ++i) {
        if (i < of.tokens_ && own >= of.count_) {
          own -= of.count_;
          ++token;
        }
      }
      exists = own < of.count_;
    }
  };

  [[nodiscard]] __device__ const float* row_of(int token) const {
    return args_.x + (args_.positions != nullptr ? args_.positions[token] : token) * args_.inputs;
  }
  /// What moments are about.
  [[nodiscard]] __device__ float origin_of(const float* row) const {
    return args_.norm.is_rms ? 0.0F : row[0];
  }

  __device__ void round(float (&x)[8], const Layout& layout, const Place& place,
                        std::byte* shared) const {
    const int lanes_log2 =
        (kBlocks == Blocks::steps ? 0 : args_.unit_steps_log2) + 2;  // of a block
    const int column = place.token * kLevels;
    auto* const blocks = reinterpret_cast<ColumnBlock*>(shared + layout.blocks_at()) + column;
    round_to_levels(
        x, 1 << lanes_log2, kLevels, [&](int level, const EightRounded& rounded, float factor) {
          if (place.exists) {
            *reinterpret_cast<uint2*>(shared + (column + level) * layout.stride + place.own) =
                rounded.values;
            const int lane = place.own / 8;
            if ((lane & ((1 << lanes_log2) - 1)) == 0) {
              blocks[(lane >> lanes_log2) * Layout::kAllColumns + level] = {
                  factor, args_.zero_point == 0 ? rounded.sum : -args_.zero_point * rounded.sum};
            }
          }
        });
  }

  /// Eight of a vector's elements, or zeros where the part or the vector has ended.
  __device__ void load(const float* vector, const Place& place, float (&to)[8]) const {
    if (place.exists && first_ + place.own < args_.inputs) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const auto four = Vector<float>::load(vector + first_ + place.own + 4 * half);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          to[4 * half + i] = four.elements[i];
        }
      }
    } else {
#pragma unroll
      for (float& element : to) {
        element = 0;
      }
    }
  }
  __device__ void load_norm(const Place& place) {
    if (args_.norm.weight != nullptr) {
      load(args_.norm.weight, place, weight_);
      if (args_.norm.bias != nullptr) {
        load(args_.norm.bias, place, bias_);
      }
    }
  }

  /// Sums of a warp's share of all inputs and of their squares, about the origin.
  [[nodiscard]] __device__ float2 moments_of_warp(const float* row) const {
    const float origin = origin_of(row);
    float2 own{0.0F, 0.0F};
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x) * 4; i < args_.inputs; i += kThreads * 4) {
      const auto four = Vector<float>::load(row + i);
#pragma unroll
      for (const float element : four.elements) {
        own.x += element - origin;
        own.y += (element - origin) * (element - origin);
      }
    }
    return {sum_of_lanes(own.x), sum_of_lanes(own.y)};
  }

  [[nodiscard]] __device__ float2 shift_and_scale(const float* row,
                                                  const float2 (&of_warps)[kWarps]) const {
    float2 total{0.0F, 0.0F};
#pragma unroll
    for (const float2& one : of_warps) {
      total.x += one.x;
      total.y += one.y;
    }
    const auto inputs = static_cast<float>(args_.inputs);
    const float mean = args_.norm.is_rms ? 0.0F : total.x / inputs;
    return {origin_of(row) + mean, rsqrtf(total.y / inputs - mean * mean + args_.norm.epsilon)};
  }

  const ProductArgs& args_;
  int tokens_;
  int first_;
  int count_;
  float weight_[8];
  float bias_[8] = {};
};

}  // namespace kvcache::kernels::quantized_few
