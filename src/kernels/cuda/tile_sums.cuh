// Sums of warps that share the inputs of a product, and of a cluster's blocks that do: four
// neighbouring outputs of a token at a time.
#pragma once

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

__device__ inline float4 operator+(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

/// A lane's sums of two matrix instructions whose rows are outputs (lane 4·g + t: two rows of each
/// are outputs 4g to 4g + 3, of columns 2t and 2t + 1), to [8, stride] in shared memory.
__device__ inline void store_tile(const float (&sums)[2][4], float* to, int stride, int lane) {
#pragma unroll
  for (int column = 0; column < 2; ++column) {
    *reinterpret_cast<float4*>(to + (lane % 4 * 2 + column) * stride + lane / 4 * 4) = {
        sums[0][column], sums[0][2 + column], sums[1][column], sums[1][2 + column]};
  }
}

/// Items of kEach times four sums, whose parts the blocks of a cluster have. They go to one of the
/// blocks in turns, which finishes them. `memory` is [parts, items of a block, kEach].
template <int kEach>
class GatheredSums {
 public:
  /// A multiple of the parts are `items`. By all threads; none sends before it has waited for the
  /// cluster.
  __device__ GatheredSums(CopyBarrier& sent, int items, int parts_log2)
      : sent_(sent), items_(items), parts_log2_(parts_log2) {
    if (parts_log2 > 0) {
      if (threadIdx.x == 0) {
        sent.initialize();
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        sent.expect(static_cast<unsigned>(items * kEach * sizeof(float4)));
      }
      arrive_at_cluster_early();  // all its blocks run before any sends to another
    }
  }

  [[nodiscard]] __device__ bool are_parts() const { return parts_log2_ > 0; }
  [[nodiscard]] __device__ int own_items() const { return items_ >> parts_log2_; }
  /// The item that is the block's `own`-th.
  [[nodiscard]] __device__ int item(int own) const { return (own << parts_log2_) + part(); }

  __device__ void send(float4* memory, int item, int i, float4 sum) const {
    const auto owner = static_cast<unsigned>(item & ((1 << parts_log2_) - 1));
    const auto* const to = reinterpret_cast<const float2*>(
        memory + (part() * own_items() + (item >> parts_log2_)) * kEach + i);
    send_to_block(to, {sum.x, sum.y}, sent_, owner);
    send_to_block(to + 1, {sum.z, sum.w}, sent_, owner);
  }

  __device__ void wait() const { sent_.wait_for_cluster(0); }

  __device__ void add_up(const float4* memory, int own, float4 (&sums)[kEach]) const {
#pragma unroll
    for (float4& sum : sums) {
      sum = {};
    }
#pragma unroll 1
    for (int from = 0; from < 1 << parts_log2_; ++from) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        sums[i] = sums[i] + memory[(from * own_items() + own) * kEach + i];
      }
    }
  }

 private:
  __device__ static int part() { return static_cast<int>(blockIdx.z); }

  CopyBarrier& sent_;
  int items_;
  int parts_log2_;
};

}  // namespace kvcache::kernels
