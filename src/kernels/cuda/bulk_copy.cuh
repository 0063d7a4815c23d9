// Copies of whole pieces of memory into shared memory, made by the chip's copy engine (sm_90): one
// thread asks for them, everybody waits for them at a barrier in shared memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

/// Whether what is copied is worth its place in the second-level cache.
enum class ReadAgain { no, next_step };

/// What a warp has loaded from where a copy is to come next. Loads can be on their way still when
/// the instructions behind them run, and the copy engine, which has a way to memory of its own (PTX
/// ISA, "Async proxy"), does not wait for them: only what needs what they bring does, so the next
/// copy is asked for with something made of it. (Without, one decoded token of a hundred with
/// weights of 8 bits had some weights of the copy that followed.)
class Loads {
 public:
  __device__ void add(unsigned word) { words_ |= word; }
  /// One load.
  __device__ void add(const uint4& words) { add(words.x); }

  /// Zero, which the compiler does not know: grids have one row. To be added to an operand.
  [[nodiscard]] __device__ unsigned through() const { return words_ & (gridDim.y - 1); }

 private:
  unsigned words_ = 0;
};

/// Counts the bytes that have arrived (PTX ISA, "mbarrier"). Where it is used over and over, its
/// n-th copy is waited for with n's parity, by those who have waited for the ones before.
class CopyBarrier {
 public:
  /// By one thread; a fence and a barrier of the block before anybody else touches it. A phase
  /// ends when so many have arrived, and with them the bytes that were expected.
  __device__ void initialize([[maybe_unused]] unsigned arrivals = 1) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(arrivals)
                 : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
  }

  /// By one thread, before the copies that bring these bytes to where `loads` have been.
  __device__ void expect([[maybe_unused]] unsigned bytes,
                         [[maybe_unused]] const Loads& loads = {}) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()),
                 "r"(bytes + loads.through())
                 : "memory");
#endif
  }

  /// Tells those that wait that this thread has done with what it read, once `loads` are through.
  __device__ void arrive([[maybe_unused]] const Loads& loads = {}) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address() + loads.through())
                 : "memory");
#endif
  }

  /// The same at another block's barrier, where what the warp has written to that block before is
  /// visible to who waits for it with `wait_for_cluster`.
  __device__ void arrive_in_block([[maybe_unused]] unsigned rank) {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{\n"
        ".reg .b32 there;\n"
        "mapa.shared::cluster.u32 there, %0, %1;\n"
        "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [there];\n"
        "}\n" ::"r"(address()),
        "r"(rank)
        : "memory");
#endif
  }

  /// Starts a copy of `bytes`, a multiple of 16, from and to addresses that are multiples of 16.
  __device__ void copy([[maybe_unused]] void* to, [[maybe_unused]] const void* from,
                       [[maybe_unused]] unsigned bytes, [[maybe_unused]] ReadAgain again) {
#if __CUDA_ARCH__ >= 900
    std::uint64_t policy = 0;
    if (again == ReadAgain::no) {
      asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    } else {
      asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    }
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
        "[%0], [%1], %2, [%3], %4;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))),
        "l"(from), "r"(bytes), "r"(address()), "l"(policy)
        : "memory");
#endif
  }

  /// Starts a copy of `bytes` from this block to the same variables of another, whose copy of this
  /// barrier is told when they are there. Who wrote them has called let_copies_read().
  __device__ void copy_to_block([[maybe_unused]] void* to, [[maybe_unused]] const void* from,
                                [[maybe_unused]] unsigned bytes, [[maybe_unused]] unsigned rank) {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{\n"
        ".reg .b32 to;\n"
        ".reg .b32 barrier;\n"
        "mapa.shared::cluster.u32 to, %0, %4;\n"
        "mapa.shared::cluster.u32 barrier, %3, %4;\n"
        "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [to], [%1], %2, "
        "[barrier];\n"
        "}\n" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))),
        "r"(static_cast<unsigned>(__cvta_generic_to_shared(from))), "r"(bytes), "r"(address()),
        "r"(rank)
        : "memory");
#endif
  }

  /// For the arrivals of other blocks.
  __device__ void wait_for_cluster([[maybe_unused]] unsigned parity) {
#if __CUDA_ARCH__ >= 900
    unsigned there = 0;
    while (there == 0) {
      asm volatile(
          "{\n"
          ".reg .pred p;\n"
          "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
          "selp.u32 %0, 1, 0, p;\n"
          "}\n"
          : "=r"(there)
          : "r"(address()), "r"(parity)
          : "memory");
    }
#endif
  }

  __device__ void wait([[maybe_unused]] unsigned parity) {
#if __CUDA_ARCH__ >= 900
    unsigned there = 0;
    while (there == 0) {
      asm volatile(
          "{\n"
          ".reg .pred p;\n"
          "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
          "selp.u32 %0, 1, 0, p;\n"
          "}\n"
          : "=r"(there)
          : "r"(address()), "r"(parity)
          : "memory");
    }
#endif
  }

  /// Whether it need not be waited for.
  [[nodiscard]] __device__ bool is_through([[maybe_unused]] unsigned parity) {
    unsigned through = 0;
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}\n"
        : "=r"(through)
        : "r"(address()), "r"(parity)
        : "memory");
#endif
    return through != 0;
  }

 private:
  [[nodiscard]] __device__ unsigned address() const {
    return static_cast<unsigned>(__cvta_generic_to_shared(&state_));
  }

  std::uint64_t state_;
};

/// What the thread wrote to shared memory is there for the copies that start behind the next
/// barrier of the block.
__device__ inline void let_copies_read() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/// Whether this is the one thread of its warp that asks for copies. The compiler knows that it is
/// one, and keeps what it counts where it is wanted.
__device__ inline bool is_elected() {
  unsigned is = 0;
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xFFFFFFFF;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(is));
#endif
  return is != 0;
}

/// To another block's copy of a variable in shared memory, and tells its copy of a barrier that so
/// many bytes are there: nobody waits for the way (PTX ISA, "st.async").
__device__ inline void send_to_block([[maybe_unused]] const void* own,
                                     [[maybe_unused]] float2 values,
                                     [[maybe_unused]] const CopyBarrier& there,
                                     [[maybe_unused]] unsigned rank) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .b32 to;\n"
      ".reg .b32 barrier;\n"
      "mapa.shared::cluster.u32 to, %0, %4;\n"
      "mapa.shared::cluster.u32 barrier, %1, %4;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [to], {%2, %3}, [barrier];\n"
      "}\n" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(own))),
      "r"(static_cast<unsigned>(__cvta_generic_to_shared(&there))), "r"(__float_as_uint(values.x)),
      "r"(__float_as_uint(values.y)), "r"(rank)
      : "memory");
#endif
}

}  // namespace kvcache::kernels
