// The matrix instruction of sm_90a that four warps issue together, with both factors in shared
// memory (PTX ISA, "wgmma").
#pragma once

#include <cstdint>

#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

constexpr int kWarpgroup = 128;        // threads
constexpr int kWarpgroupRows = 64;     // of the left factor
constexpr int kWarpgroupColumns = 64;  // of the right one, here
constexpr int kSwizzledBytes = 128;    // a row in shared memory, its pieces of 16 bytes swizzled

/// Where a factor lies: rows of 128 bytes, eight of them 1,024 bytes, which are aligned to their
/// size (PTX ISA, "Matrix Descriptor Format"). The address is in the lower half alone, so that a
/// warp moves on by one addition.
class WarpgroupFactor {
 public:
  __device__ explicit WarpgroupFactor(unsigned shared_address)
      : low_(1U << 16U | (shared_address & 0x3FFFFU) >> 4U) {}

  [[nodiscard]] __device__ std::uint64_t at(unsigned byte) const {
    constexpr std::uint64_t kHigh = 1U << 30U | kEightRows >> 4U;
    return kHigh << 32U | (low_ + (byte >> 4U));
  }

  /// Between 16 inputs and the next 16: where inputs are a row's elements, and where they are rows.
  static constexpr unsigned kStepInRow = 32;
  static constexpr unsigned kStepOfRows = 2048;

 private:
  static constexpr unsigned kEightRows = 1024;
  unsigned low_;
};

/// What a thread has of 64 × 64 sums. Warp w, lane 4g + t: rows 16w + g and, the odd pairs, 8
/// further, of each eight columns 2t and 2t + 1.
using WarpgroupSums = float[32];

/// Before the first of the products, when sums were written.
__device__ inline void begin_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ inline void commit_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
/// All but so many of the latest committed groups have read their factors and have sums.
template <int kLatest>
__device__ void wait_for_products_but() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLatest) : "memory");
#endif
}

#define KVCACHE_WGMMA(type, transposed)                                                            \
  asm volatile(                                                                                    \
      "{\n"                                                                                        \
      ".reg .pred adds;\n"                                                                         \
      "setp.ne.b32 adds, %34, 0;\n"                                                                \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                  \
      " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,"   \
      "%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, adds, 1, 1, 0, " transposed                     \
      ";\n"                                                                                        \
      "}\n"                                                                                        \
      : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3]), "+f"(s[4]), "+f"(s[5]), "+f"(s[6]),        \
        "+f"(s[7]), "+f"(s[8]), "+f"(s[9]), "+f"(s[10]), "+f"(s[11]), "+f"(s[12]), "+f"(s[13]),    \
        "+f"(s[14]), "+f"(s[15]), "+f"(s[16]), "+f"(s[17]), "+f"(s[18]), "+f"(s[19]), "+f"(s[20]), \
        "+f"(s[21]), "+f"(s[22]), "+f"(s[23]), "+f"(s[24]), "+f"(s[25]), "+f"(s[26]), "+f"(s[27]), \
        "+f"(s[28]), "+f"(s[29]), "+f"(s[30]), "+f"(s[31])                                         \
      : "l"(left), "l"(right), "r"(static_cast<int>(adds)))

/// 16 inputs: rows of `left` have inputs side by side, rows of `right` too, or else columns. Sets
/// the sums, or `adds` to them.
template <typename T, bool kRightHasInputs>
__device__ void multiply_by_warpgroup(WarpgroupSums& s, std::uint64_t left, std::uint64_t right,
                                      bool adds) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  if constexpr (std::is_same_v<T, __half>) {
    if constexpr (kRightHasInputs) {
      KVCACHE_WGMMA("f16", "0");
    } else {
      KVCACHE_WGMMA("f16", "1");
    }
  } else {
    if constexpr (kRightHasInputs) {
      KVCACHE_WGMMA("bf16", "0");
    } else {
      KVCACHE_WGMMA("bf16", "1");
    }
  }
#endif
}
#undef KVCACHE_WGMMA

}  // namespace kvcache::kernels
