// The k largest of a row by their places in the order of tokens, whole numbers of 64 bits: a digit
// after the other, the highest first, is counted in one pass over the row, which finds the digit of
// the k-th place. How many passes there are (three to six) does not depend on k.
#include <cstdint>

#include "kernels/cuda/logit_order.cuh"
#include "kernels/cuda/shared_row.cuh"
#include "kernels/cuda/top_logits_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kPlaceBits = 64;
constexpr int kDigitBits = 11;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kDigitsOfAThread = kDigits / kRowThreads;
constexpr int kWarps = kRowThreads / 32;
static_assert(kDigits % kRowThreads == 0);

/// What is known of the k-th place.
struct Search {
  std::uint64_t high;  // its digits so far, and no other
  unsigned missing;    // how many tokens have them and are among the k
  bool all;            // these are all that have them
};

/// The search with one digit more, in the thread that finds it, of `counts`: tokens by their next
/// digit. Returns whether this is the thread.
__device__ bool find_digit(const unsigned* counts, int digit_bits, Search& search) {
  __shared__ unsigned of_warps[kWarps];
  // A thread's digits are neighbours; the first thread has the largest ones.
  const unsigned largest = kDigits - 1 - threadIdx.x * kDigitsOfAThread;
  unsigned own = 0;
  for (unsigned i = 0; i < kDigitsOfAThread; ++i) {
    own += counts[largest - i];
  }
  unsigned until = own;  // of the warp's lanes up to this one
#pragma unroll
  for (unsigned offset = 1; offset < 32; offset *= 2) {
    const unsigned other = __shfl_up_sync(kAllLanes, until, offset);
    until += threadIdx.x % 32 >= offset ? other : 0;
  }
  if (threadIdx.x % 32 == 31) {
    of_warps[threadIdx.x / 32] = until;
  }
  __syncthreads();
  for (unsigned warp = 0; warp < threadIdx.x / 32; ++warp) {
    until += of_warps[warp];
  }
  unsigned before = until - own;
  if (before >= search.missing || until < search.missing) {
    return false;
  }
  unsigned digit = largest;
  while (before + counts[digit] < search.missing) {
    before += counts[digit--];
  }
  search.missing -= before;
  search.all = counts[digit] == search.missing;
  search.high = search.high << digit_bits | digit;
  return true;
}

/// Grid: 1, 1, blocks that share the row. `chosen` [k] is in no order; 0 < k.
template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    top_k_kernel(const T* logits, std::int64_t vocab_size, const unsigned* allowed, std::int64_t k,
                 TopLogit* chosen) {
  // The first block's are the cluster's.
  __shared__ unsigned counts[kDigits];
  __shared__ Search found;
  __shared__ unsigned written;
  if (threadIdx.x == 0) {
    written = 0;
  }
  wait_for_previous_kernel();
  Search search{0, static_cast<unsigned>(k), false};
  int unread = kPlaceBits;  // bits of a place behind the digits that are known
  while (!search.all) {
    const int digit_bits = min(kDigitBits, unread);
    const int behind = unread - digit_bits;
    for (int i = threadIdx.x; i < kDigits; i += kRowThreads) {
      counts[i] = 0;
    }
    arrive_at_cluster();
    wait_for_cluster();
    __syncthreads();  // where there are no clusters
    for_share_of_row(logits, vocab_size, [&](const TopLogit& token) {
      const std::uint64_t place = place_of(token);
      // In two steps, as a shift by all 64 bits is none.
      if (place >> (unread - 1) >> 1 == search.high && is_allowed(allowed, token.token)) {
        atomicAdd(&counts[place >> behind & ((1U << digit_bits) - 1)], 1U);
      }
    });
    __syncthreads();
    if (blockIdx.z != 0) {
      for (int i = threadIdx.x; i < kDigits; i += kRowThreads) {
        if (counts[i] != 0) {
          atomicAdd(in_first_block(&counts[i]), counts[i]);
        }
      }
    }
    arrive_at_cluster();
    wait_for_cluster();
    if (blockIdx.z == 0) {
      Search next = search;
      if (find_digit(counts, digit_bits, next)) {
        found = next;
      }
    }
    arrive_at_cluster();
    wait_for_cluster();
    __syncthreads();
    search = *in_first_block(&found);
    unread = behind;
  }
  for_share_of_row(logits, vocab_size, [&](const TopLogit& token) {
    if (place_of(token) >> unread >= search.high && is_allowed(allowed, token.token)) {
      chosen[atomicAdd(in_first_block(&written), 1U)] = token;
    }
  });
  arrive_at_cluster();  // the first block's memory is there until all have ended
  wait_for_cluster();
}

}  // namespace

template <typename T>
cudaError_t top_k_cuda(const T* logits, std::int64_t vocab_size, const unsigned* allowed,
                       std::int64_t k, TopLogit* chosen, cudaStream_t stream) {
  if (k == 0) {
    return cudaSuccess;
  }
  const dim3 grid(1, 1, device_has_clusters() ? kMaxCluster : 1);
  return launch(top_k_kernel<T>, grid, kRowThreads, 0, stream, logits, vocab_size, allowed, k,
                chosen);
}

template cudaError_t top_k_cuda(const float*, std::int64_t, const unsigned*, std::int64_t,
                                TopLogit*, cudaStream_t);
template cudaError_t top_k_cuda(const __half*, std::int64_t, const unsigned*, std::int64_t,
                                TopLogit*, cudaStream_t);
template cudaError_t top_k_cuda(const __nv_bfloat16*, std::int64_t, const unsigned*, std::int64_t,
                                TopLogit*, cudaStream_t);

}  // namespace kvcache::kernels
