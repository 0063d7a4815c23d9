// Messages between the blocks of one running kernel: a word is its own flag.
//
// Memory for a result holds kNotYet in every word until the result is there. Whoever needs a word
// reads it until it is something else: no barrier, no fence, one way through the second-level
// cache. (The idea of NCCL's LL protocol, which pairs each word with a flag; here the word is
// both.)
#pragma once

#include <cstdint>

#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/fused_step.hpp"

namespace kvcache::kernels {

/// A NaN that no arithmetic makes: results that are not numbers are 0x7FFFFFFF, and of two 16-bit
/// values in a word 0x7FFF.
constexpr unsigned kNotYet = 0xFFFFFFFFU;

/// How long nobody needs to poll after having sent their own: other blocks have come no further,
/// and a word takes its time.
constexpr unsigned kCyclesOnTheWay = 400;

__device__ inline void pause(unsigned cycles) {
  const auto since = static_cast<unsigned>(clock());
  while (static_cast<unsigned>(clock()) - since < cycles) {
  }
}

__device__ inline void send(unsigned* to, unsigned word) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(word) : "memory");
}
__device__ inline void send(unsigned* to, float value) { send(to, __float_as_uint(value)); }

/// Two words at an address that is a multiple of 8.
__device__ inline void send(unsigned* to, float2 values) {
  asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(to),
               "r"(__float_as_uint(values.x)), "r"(__float_as_uint(values.y))
               : "memory");
}

/// A value to every copy of a layer's exchange.
template <typename Shape, typename Value>
__device__ void broadcast(unsigned* to, Value value) {
#pragma unroll
  for (int copy = 0; copy < Shape::kCopies; ++copy) {
    send(to + copy * Shape::exchange().copy_words(), value);
  }
}

/// Words that a lane waits for.
template <int kWords>
struct Arriving {
  unsigned words[kWords] = {};

  [[nodiscard]] __device__ bool are_there() const {
    bool there = true;
#pragma unroll
    for (const unsigned word : words) {
      there = there && word != kNotYet;
    }
    return there;
  }

  /// Reads words `kAt` … of these; what comes behind waits for it only where it uses them.
  template <int kAt>
  __device__ void poll_one(const unsigned* from) {
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(words[kAt]) : "l"(from) : "memory");
  }
  template <int kAt>
  __device__ void poll_two(const unsigned* from) {
    asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];"
                 : "=r"(words[kAt]), "=r"(words[kAt + 1])
                 : "l"(from)
                 : "memory");
  }
  template <int kAt>
  __device__ void poll_four(const unsigned* from) {
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[kAt]), "=r"(words[kAt + 1]), "=r"(words[kAt + 2]),
                   "=r"(words[kAt + 3])
                 : "l"(from)
                 : "memory");
  }
};

/// Waits until all lanes of the warp have their words, which `poll(arriving)` reads.
template <int kWords, typename Poll>
__device__ Arriving<kWords> receive(const Poll& poll) {
  Arriving<kWords> arriving;
  do {
    poll(arriving);
  } while (!__all_sync(kAllLanes, arriving.are_there()));
  return arriving;
}

/// The same by all warps of the block, a barrier. The first warp polls alone until it has its
/// words, as the others' come at about the same time: the more poll, the longer a poll takes.
template <int kWords, typename Poll>
__device__ Arriving<kWords> receive_together(const Poll& poll) {
  Arriving<kWords> arriving;
  if (threadIdx.x < 32) {
    pause(kCyclesOnTheWay);
    arriving = receive<kWords>(poll);
  }
  __syncthreads();
  if (threadIdx.x >= 32) {
    arriving = receive<kWords>(poll);
  }
  return arriving;
}

/// Two 16-bit values in a word, the first in its lower half.
template <typename T>
__device__ unsigned pair_of(float first, float second) {
  const auto pair = Pair<T>::rounded(first, second);
  return *reinterpret_cast<const unsigned*>(&pair);
}

template <typename T>
__device__ float2 values_of(unsigned pair) {
  return Pair<T>::widened(*reinterpret_cast<const typename Pair<T>::type*>(&pair));
}

}  // namespace kvcache::kernels
