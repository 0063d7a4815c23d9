// What a thread block of quantized_linear_few.cu does with its sums: those of a cluster, the bias,
// the activation or gate, the residual.
#pragma once

#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/quantized_few_weights.cuh"

namespace kvcache::kernels::quantized_few {

/// What a warp does with a token's sums of a panel: two neighbouring outputs a lane. Where the
/// inputs are in parts, the cluster has one panel, and each of its thread blocks finishes some
/// outputs.
template <class Layout, int kLevels, int kMatrices>
class Finish {
 public:
  static constexpr int kTokens = Layout::kAllColumns / kLevels;

  /// `sent`: counts what the cluster sends.
  __device__ Finish(const ProductArgs& args, const Layout& layout, int token, std::byte* shared,
                    CopyBarrier& sent)
      : args_(args),
        sums_(reinterpret_cast<const float*>(shared + layout.sums_at())),
        gathered_(reinterpret_cast<float*>(shared + layout.gathered_at()) +
                  token * Layout::kGathered),
        sent_(sent),
        own_log2_(kColumnsLog2 - args.parts_log2),
        part_(static_cast<int>(blockIdx.z)),
        token_(token),
        output_(2 * (static_cast<int>(threadIdx.x) % 32)) {}

  /// What is added is on its way.
  __device__ void load(int panel) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::int64_t output = own_output(panel) + i;
      if (output_ >> own_log2_ == 0 && output < args_.outputs) {
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
          bias_[m][i] = args_.bias != nullptr ? args_.bias[m * args_.outputs + output] : 0.0F;
        }
        residual_[i] = args_.residual != nullptr ? args_.residual[at(output)] : 0.0F;
      }
    }
  }

  /// `number`: of the panels that this cluster had before.
  __device__ void operator()(int panel, int number) {
    float2 sums[kMatrices];
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      sums[m] = {0.0F, 0.0F};
#pragma unroll
      for (int share = 0; share < kShares; ++share) {
#pragma unroll
        for (int level = 0; level < kLevels; ++level) {
          add(sums[m], sums_ + number % 2 * Layout::kTurnSums + share * Layout::kShareSums +
                           (m * Layout::kAllColumns + token_ * kLevels + level) * kColumns +
                           output_);
        }
      }
    }
    if (args_.parts_log2 > 0) {
      const int own_mask = (1 << own_log2_) - 1;
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
        send_to_block(gathered_ + ((part_ * kMatrices + m) << own_log2_) + (output_ & own_mask),
                      sums[m], sent_, static_cast<unsigned>(output_ >> own_log2_));
      }
      sent_.wait_for_cluster(0);
      if (output_ >> own_log2_ == 0) {
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
          sums[m] = {0.0F, 0.0F};
#pragma unroll 1
          for (int part = 0; part < 1 << args_.parts_log2; ++part) {
            add(sums[m], gathered_ + ((part * kMatrices + m) << own_log2_) + output_);
          }
        }
      }
    }
    if (output_ >> own_log2_ == 0) {
#pragma unroll 1
      for (int i = 0; i < 2; ++i) {
        const std::int64_t output = own_output(panel) + i;
        if (output < args_.outputs) {
          float value = activated(args_.activation, sums[0].x + bias_[0][0]);
          if constexpr (kMatrices == 2) {
            value *= sums[1].x + bias_[1][0];
          }
          args_.out[at(output)] = residual_[0] + value;
        }
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
          sums[m].x = sums[m].y;
          bias_[m][0] = bias_[m][1];
        }
        residual_[0] = residual_[1];
      }
    }
  }

 private:
  [[nodiscard]] __device__ std::int64_t own_output(int panel) const {
    return std::int64_t{panel} * kColumns + (part_ << own_log2_) + output_;
  }
  [[nodiscard]] __device__ std::int64_t at(std::int64_t output) const {
    return kTokens == 1 ? output : token_ * args_.outputs + output;
  }
  __device__ static void add(float2& sum, const float* two) {
    const float2 more = *reinterpret_cast<const float2*>(two);
    sum.x += more.x;
    sum.y += more.y;
  }

  const ProductArgs& args_;
  const float* sums_;
  float* gathered_;
  CopyBarrier& sent_;
  int own_log2_;  // outputs of the thread block
  int part_;
  int token_;
  int output_;
  float bias_[kMatrices][2] = {};
  float residual_[2] = {};
};

}  // namespace kvcache::kernels::quantized_few
