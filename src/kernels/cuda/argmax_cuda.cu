// The best token of each row of logits. Of 16 bits, a vector's largest logit is found in pairs and
// which of the vector it is in the end, so that it takes few instructions.
#include <algorithm>
#include <cstdint>

#include "kernels/cuda/logit_order.cuh"
#include "kernels/cuda/shared_row.cuh"
#include "kernels/cuda/top_logits_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kWarps = kRowThreads / 32;
constexpr int kAhead = 8;  // vectors of a thread on their way

/// NaN where one of them is.
template <typename T, int kSize>
__device__ float largest_of(const Vector<T, kSize>& vector) {
  if constexpr (kHasPairs<T, kSize>) {
    using PairOf = typename Pair<T>::type;
    const auto* const pairs = reinterpret_cast<const PairOf*>(vector.elements);
    PairOf largest = pairs[0];
#pragma unroll
    for (int i = 1; i < kSize / 2; ++i) {
      largest = __hmax2_nan(largest, pairs[i]);
    }
    return to_float(__hmax_nan(largest.x, largest.y));
  } else {
    float largest = to_float(vector.elements[0]);
#pragma unroll
    for (int i = 1; i < kSize; ++i) {
      asm("max.NaN.f32 %0, %0, %1;" : "+f"(largest) : "f"(to_float(vector.elements[i])));
    }
    return largest;
  }
}

/// The place of the thread's best token of the row, or 0.
template <typename T>
__device__ std::uint64_t best_of_thread(const T* logits, int vocab_size) {
  const VectorsOfRow<T> row(logits, vocab_size);
  const int stride = static_cast<int>(gridDim.z) * kRowThreads;
  const int first_vector = static_cast<int>(blockIdx.z) * kRowThreads + threadIdx.x;
  float largest = -INFINITY;
  int best = -1;  // vector
#pragma unroll 1
  for (int first = first_vector; first < row.count; first += kAhead * stride) {
    Vector<T> ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      ahead[i] = row.load(min(first + i * stride, row.count - 1));  // once more changes nothing
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const float of_vector = largest_of(ahead[i]);
      if (best < 0 || of_vector > largest || (isnan(of_vector) && !isnan(largest))) {
        largest = of_vector;
        best = min(first + i * stride, row.count - 1);
      }
    }
  }
  std::uint64_t place = 0;
  const auto offer = [&](int token, T logit) {
    place = std::max(place, place_of({token, to_float(logit)}));
  };
  if (best >= 0) {
    const Vector<T> vector = row.load(best);
    int token = 0;
#pragma unroll
    for (int i = VectorsOfRow<T>::kSize - 1; i >= 0; --i) {
      const float logit = to_float(vector.elements[i]);
      token = logit == largest || isnan(logit) ? i : token;
    }
    place = place_of({row.first_of(best) + token, largest});
  }
  row.for_others(offer);
  return place;
}

__device__ std::uint64_t largest_of_lanes(std::uint64_t place) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    place = std::max(place, static_cast<std::uint64_t>(__shfl_xor_sync(
                                kAllLanes, static_cast<unsigned long long>(place), offset)));
  }
  return place;
}

/// The same of the block, in its first warp.
template <typename T>
__device__ std::uint64_t best_of_share(const T* logits, int vocab_size) {
  __shared__ std::uint64_t bests[kWarps];
  const std::uint64_t of_warp = largest_of_lanes(best_of_thread(logits, vocab_size));
  if (threadIdx.x % 32 == 0) {
    bests[threadIdx.x / 32] = of_warp;
  }
  __syncthreads();
  return largest_of_lanes(threadIdx.x < kWarps ? bests[threadIdx.x] : 0);
}

/// Grid: rows, 1, blocks that share a row.
template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    argmax_kernel(const T* logits, std::int64_t vocab_size, TopLogit* best) {
  __shared__ std::uint64_t bests[kMaxCluster];  // the first block's are written by all
  arrive_at_cluster_early();                    // all its blocks run before any writes to another
  wait_for_previous_kernel();
  const std::uint64_t own =
      best_of_share(logits + std::int64_t{blockIdx.x} * vocab_size, static_cast<int>(vocab_size));
  wait_for_cluster();
  if (threadIdx.x == 0) {
    in_first_block(bests)[blockIdx.z] = own;
  }
  arrive_at_cluster();
  wait_for_cluster();
  if (threadIdx.x == 0 && blockIdx.z == 0) {
    std::uint64_t place = bests[0];
#pragma unroll 1
    for (unsigned block = 1; block < gridDim.z; ++block) {
      place = std::max(place, bests[block]);
    }
    const TopLogit found = token_at(place);
    send_to_host(best + blockIdx.x, static_cast<unsigned>(found.token),
                 __float_as_uint(found.logit));
  }
}

}  // namespace

template <typename T>
cudaError_t argmax_cuda(const T* logits, std::int64_t rows, std::int64_t vocab_size, TopLogit* best,
                        cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(rows), 1, blocks_sharing_a_row(rows));
  return launch(argmax_kernel<T>, grid, kRowThreads, 0, stream, logits, vocab_size, best);
}

template cudaError_t argmax_cuda(const float*, std::int64_t, std::int64_t, TopLogit*, cudaStream_t);
template cudaError_t argmax_cuda(const __half*, std::int64_t, std::int64_t, TopLogit*,
                                 cudaStream_t);
template cudaError_t argmax_cuda(const __nv_bfloat16*, std::int64_t, std::int64_t, TopLogit*,
                                 cudaStream_t);

}  // namespace kvcache::kernels
