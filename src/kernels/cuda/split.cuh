// Numbers of float32 as tensor cores take them: each the sum of two with 11 bits (TF32), so that a
// product is three of theirs. What the fourth would add is below 2⁻²² of it (Markidis et al. 2018,
// arXiv:1803.04014; Ootomo and Yokota 2022, arXiv:2203.03341). The tensor cores cut their sums off,
// so they add up a few inputs only, and float32 additions, which round, do the rest.
#pragma once

#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

/// A number as the sum of two with 11 bits, as the tensor cores read them: the 13 bits behind those
/// are not looked at. Of the 12 bits that rounding leaves to the lower one, the last is dropped;
/// rounding it would be as far off. NaN stays NaN: where the sum of bits makes a zero of it (of
/// 0x7FFFFFFF, which arithmetic gives), the difference is NaN.
struct Split {
  unsigned high;
  unsigned low;

  __device__ static Split of(float value) {
    constexpr unsigned kHalf = 1U << 12U;  // of the last bit that counts
    const unsigned high = (__float_as_uint(value) + kHalf) & ~(2 * kHalf - 1);
    return {high, __float_as_uint(value - __uint_as_float(high))};
  }
};

/// Four that lie side by side.
struct FourSplit {
  Split of[4];

  FourSplit() = default;
  __device__ explicit FourSplit(float4 four) {
    of[0] = Split::of(four.x);
    of[1] = Split::of(four.y);
    of[2] = Split::of(four.z);
    of[3] = Split::of(four.w);
  }
};

/// Calls add(of_left, of_right) for the three products of two numbers that are split, small ones
/// first: which part of each it is of.
template <typename Add>
__device__ void add_products(const Add& add) {
  add(&Split::low, &Split::high);
  add(&Split::high, &Split::low);
  add(&Split::high, &Split::high);
}

/// sum = a · b + sum, as m16n8k8 has them (PTX ISA, "Matrix Fragments for mma.m16n8k8"): lane
/// 4·g + t has of a rows g and g + 8, inputs t (a0, a1) and t + 4; of b the same inputs of column
/// g; of the sum columns 2t and 2t + 1.
__device__ inline void multiply_add_tf32(float (&sum)[4], unsigned a0, unsigned a1, unsigned a2,
                                         unsigned a3, unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

}  // namespace kvcache::kernels
