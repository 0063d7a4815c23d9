// How a lane of quantized_linear_few.cu comes by its weights, and what its thread block has in
// shared memory.
#pragma once

#include "kernels/cuda/quantized_product.cuh"

namespace kvcache::kernels::quantized_few {

using namespace quantized;

/// A lane's weights of one step, 32 inputs of its warp's 32 outputs, and the scale of its own one.
template <class K, int kMatrices>
struct Step {
  uint4 words[kMatrices][K::kRows];  // of four outputs each
  __half scales[kMatrices][K::kScaleRows];
};

/// Steps that are on their way: some 32 registers.
template <class K, int kMatrices>
constexpr int kDepth = 8 / (kMatrices * K::kRows);

/// A warp's way through the panels of its cluster, so many steps at once, which are of one panel.
template <class K, int kMatrices, Blocks kBlocks>
class Source {
 public:
  /// `first` of the panel's units, `count` of them.
  __device__ Source(const ProductArgs& args, int half, int first, int count, int lane)
      : args_(args),
        unit_log2_(kBlocks == Blocks::several_steps ? args.unit_steps_log2 : 0),
        steps_(count << unit_log2_),
        left_(steps_),
        panel_(count > 0 ? static_cast<int>(blockIdx.x) : args.panels) {
    const std::int64_t panel = std::int64_t{blockIdx.x} * kMatrices;
    values_ = args.values + panel * args.panel_bytes +
              std::int64_t{first << unit_log2_} * kStepBytes + lane % 4 * (K::kRows * kRowBytes) +
              half * (kRowBytes / kHalves) + lane / 4 * 16;
    scales_ = args.scales + panel * args.panel_scales + first * kUnitScales +
              half * kOutputsOfWarp + lane;
  }

  [[nodiscard]] __device__ int steps() const { return steps_; }  // of a panel
  [[nodiscard]] __device__ int unit_log2() const { return unit_log2_; }

  /// The `i`-th of the steps at once, if there is one.
  __device__ void load(int i, Step<K, kMatrices>& to) const {
    if (panel_ < args_.panels && i < left_) {
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int row = 0; row < K::kRows; ++row) {
          to.words[m][row] = __ldcs(reinterpret_cast<const uint4*>(
              values_ + m * args_.panel_bytes + i * kStepBytes + row * kRowBytes));
        }
        const int unit = (steps_ - left_ + i) >> unit_log2_;
#pragma unroll
        for (int row = 0; row < K::kScaleRows; ++row) {
          to.scales[m][row] = scales_[m * args_.panel_scales + unit * kUnitScales + row * kColumns];
        }
      }
    }
  }

  /// To the next ones.
  __device__ void advance() {
    left_ -= kDepth<K, kMatrices>;
    values_ += kDepth<K, kMatrices> * kStepBytes;
    if (left_ <= 0) {
      values_ -= (steps_ - left_) * kStepBytes;
      left_ = steps_;
      panel_ += static_cast<int>(gridDim.x);
      const std::int64_t panels_on = std::int64_t{gridDim.x} * kMatrices;
      values_ += panels_on * args_.panel_bytes;
      scales_ += panels_on * args_.panel_scales;
    }
  }

 private:
  static constexpr int kStepBytes = 4 * K::kRows * kRowBytes;
  static constexpr int kUnitScales = K::kScaleRows * kColumns;

  const ProductArgs& args_;
  int unit_log2_;  // steps
  int steps_;
  int left_;  // of the panel
  int panel_;
  const std::uint8_t* values_;
  const __half* scales_;
};

/// Shared memory: columns of the thread block's part of the inputs [columns, stride], their blocks
/// [blocks, columns], sums of the warps, where panels take turns
/// [2, kShares, matrices, columns, 64], and what the cluster sends to it for its share of the
/// outputs, [columns, parts, matrices, 64 / parts].
template <int kColumnCount, int kMatrices>
struct FewLayout {
  int stride;  // bytes from one column to the next: two of them lie in different banks
  int blocks;

  static constexpr int kAllColumns = kColumnCount;
  static constexpr int kShareSums = kMatrices * kAllColumns * kColumns;
  static constexpr int kTurnSums = kShares * kShareSums;
  static constexpr int kGathered = kMatrices * kColumns;  // of a token

  __host__ __device__ FewLayout(int inputs, int block_size)
      : stride(inputs + (kAllColumns > 1 ? 32 : 0)), blocks(inputs / block_size) {}
  [[nodiscard]] __host__ __device__ int blocks_at() const { return kAllColumns * stride; }
  [[nodiscard]] __host__ __device__ int sums_at() const {
    return blocks_at() + blocks * kAllColumns * static_cast<int>(sizeof(ColumnBlock));
  }
  [[nodiscard]] __host__ __device__ int gathered_at() const {
    return sums_at() + 2 * kTurnSums * static_cast<int>(sizeof(float));
  }
  [[nodiscard]] __host__ __device__ int bytes() const {
    return gathered_at() + kAllColumns * kGathered * static_cast<int>(sizeof(float));
  }
};

}  // namespace kvcache::kernels::quantized_few
