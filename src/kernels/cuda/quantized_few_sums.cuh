// What a lane of quantized_linear_few.cu sums up.
#pragma once

#include "kernels/cuda/quantized_few_weights.cuh"

namespace kvcache::kernels::quantized_few {

/// What a lane sums up of its output.
template <class K, int kColumnCount, int kMatrices, Blocks kBlocks>
class Sums {
 public:
  using Layout = FewLayout<kColumnCount, kMatrices>;

  /// `first`: of the thread block's units.
  __device__ Sums(const ProductArgs& args, const Layout& layout, const std::byte* shared, int first,
                  int lane, int unit_log2)
      : x_(shared + (kColumnCount > 1 ? lane / 4 % 2 * layout.stride : 0) + lane % 4 * 8 +
           first * args.unit_inputs),
        stride_(layout.stride),
        blocks_(reinterpret_cast<const ColumnBlock*>(shared + layout.blocks_at()) +
                first * kColumnCount),
        lane_(lane),
        unit_mask_((1 << unit_log2) - 1) {}

  __device__ void add(const Step<K, kMatrices>& step) {
    const bool begins = kBlocks == Blocks::steps || (step_ & unit_mask_) == 0;
    const bool ends = kBlocks == Blocks::steps || (step_ & unit_mask_) == unit_mask_;
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      const uint2 x = *reinterpret_cast<const uint2*>(x_ + 2 * pair * stride_);
      if (begins) {
#pragma unroll
        for (int i = 0; i < kOfPair; ++i) {
          const uint2 bits = *reinterpret_cast<const uint2*>(blocks_ + 2 * pair + i);
          block_[pair][i] = {__uint_as_float(bits.x), static_cast<int>(bits.y)};
        }
      }
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int two = 0; two < 2; ++two) {
          int(&products)[4] = products_[pair][m][two];
          if (begins) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              products[i] =
                  __float_as_int(kBase) + (K::kMinimums ? 0 : block_[pair][i % kOfPair].offset);
            }
          }
          unsigned a[4];
          left_side<K>(step.words[m], two, a);
          multiply_add_bytes(products, a, x);
        }
        if (ends) {
#pragma unroll
          for (int i = 0; i < kOfPair; ++i) {
            end_block(products_[pair][m], i, block_[pair][i], step.scales[m],
                      sums_[m][2 * pair + i]);
          }
        }
      }
    }
    ++step_;
    x_ += kStepInputs;
    blocks_ += ends ? kColumnCount : 0;
  }

  [[nodiscard]] __device__ float sum(int matrix, int column) const { return sums_[matrix][column]; }

 private:
  static constexpr int kPairs = divide_up(kColumnCount, 2);
  static constexpr int kOfPair = kColumnCount > 1 ? 2 : 1;

  /// Of a pair's `column`: of the four outputs that `products` has, the lane's own one.
  __device__ void end_block(const int (&products)[2][4], int column, const ColumnBlock& block,
                            const __half (&scales)[K::kScaleRows], float& sum) const {
    const int even = (lane_ & 2) == 0 ? products[0][column] : products[1][column];
    const int odd = (lane_ & 2) == 0 ? products[0][2 + column] : products[1][2 + column];
    const float product = __int_as_float((lane_ & 1) == 0 ? even : odd) - kBase;
    sum = fmaf(product * block.scale, __half2float(scales[0]), sum);
    if constexpr (K::kMinimums) {
      sum = fmaf(static_cast<float>(block.offset) * block.scale,
                 __half2float(scales[K::kScaleRows - 1]), sum);
    }
  }

  const std::byte* x_;
  int stride_;
  const ColumnBlock* blocks_;
  int lane_;
  int unit_mask_;
  int step_ = 0;
  ColumnBlock block_[kPairs][kOfPair];
  int products_[kPairs][kMatrices][2][4];
  float sums_[kMatrices][kColumnCount] = {};
};

}  // namespace kvcache::kernels::quantized_few
