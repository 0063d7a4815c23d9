// What the kernels have in common: element types, 16-byte vectors, sums, overlapping launches.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/launch_order.hpp"

namespace kvcache::kernels {

constexpr unsigned kAllLanes = 0xFFFFFFFFU;

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ T from_float(float value);
template <>
__device__ inline float from_float(float value) {
  return value;
}
template <>
__device__ inline __half from_float(float value) {
  return __float2half_rn(value);
}
template <>
__device__ inline __nv_bfloat16 from_float(float value) {
  return __float2bfloat16_rn(value);
}

/// `kSize` neighbouring elements that are loaded at once; 16 bytes where the layout permits.
template <typename T, int kSize = 16 / sizeof(T)>
struct alignas(sizeof(T) * kSize) Vector {
  T elements[kSize];

  __device__ static Vector load(const T* from) { return *reinterpret_cast<const Vector*>(from); }

  /// Past the first-level cache: of what is read once.
  __device__ static Vector load_once(const T* from) { return load_once_if(true, from); }

  /// The same, or zeros. What is chosen are words: of elements of 16 bits the compiler would take
  /// each out of its word, choose, and put it back.
  __device__ static Vector load_if(bool exists, const T* from);
  __device__ static Vector load_once_if(bool exists, const T* from);

  __device__ static Vector zero() {
    Vector result;
#pragma unroll
    for (T& element : result.elements) {
      element = from_float<T>(0.0F);
    }
    return result;
  }

  __device__ void store(T* to) const { *reinterpret_cast<Vector*>(to) = *this; }
};

template <typename T, int kSize>
__device__ Vector<T, kSize> Vector<T, kSize>::load_if(bool exists, const T* from) {
  if constexpr (sizeof(Vector) % sizeof(unsigned) == 0) {
    struct alignas(sizeof(Vector)) Words {
      unsigned words[sizeof(Vector) / sizeof(unsigned)];
    };
    Words bits{};
    if (exists) {
      bits = *reinterpret_cast<const Words*>(from);
    }
    return *reinterpret_cast<const Vector*>(&bits);
  } else {
    return exists ? load(from) : zero();
  }
}

template <typename T, int kSize>
__device__ Vector<T, kSize> Vector<T, kSize>::load_once_if(bool exists, const T* from) {
  if constexpr (sizeof(Vector) == 16) {
    uint4 bits{0, 0, 0, 0};
    if (exists) {
      bits = __ldcs(reinterpret_cast<const uint4*>(from));
    }
    return *reinterpret_cast<const Vector*>(&bits);
  } else {
    return load_if(exists, from);
  }
}

/// Two neighbouring elements of 16 bits: what the device converts without taking them apart.
template <typename T>
struct Pair;
template <>
struct Pair<__half> {
  using type = __half2;
  __device__ static float2 widened(__half2 pair) { return __half22float2(pair); }
  __device__ static __half2 rounded(float low, float high) { return __floats2half2_rn(low, high); }
};
template <>
struct Pair<__nv_bfloat16> {
  using type = __nv_bfloat162;
  /// Their bits are the upper ones of float32: an instruction each, where the conversion of each
  /// alone takes it out of the pair first.
  __device__ static float2 widened(__nv_bfloat162 pair) {
    const unsigned bits = *reinterpret_cast<const unsigned*>(&pair);
    return {__uint_as_float(bits << 16), __uint_as_float(bits & 0xFFFF0000U)};
  }
  __device__ static __nv_bfloat162 rounded(float low, float high) {
    return __floats2bfloat162_rn(low, high);
  }
};

template <typename T, int kSize>
constexpr bool kHasPairs = (std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>)&&kSize %
                               2 ==
                           0;

/// The elements as float32.
template <typename T, int kSize>
__device__ void widen(const Vector<T, kSize>& from, float (&to)[kSize]) {
  if constexpr (kHasPairs<T, kSize>) {
    const auto* pairs = reinterpret_cast<const typename Pair<T>::type*>(from.elements);
#pragma unroll
    for (int i = 0; i < kSize / 2; ++i) {
      const float2 both = Pair<T>::widened(pairs[i]);
      to[2 * i] = both.x;
      to[2 * i + 1] = both.y;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      to[i] = to_float(from.elements[i]);
    }
  }
}

template <typename T, int kSize>
__device__ Vector<float, kSize> widened(const Vector<T, kSize>& from) {
  Vector<float, kSize> to;
  widen(from, to.elements);
  return to;
}

/// float32 rounded to T.
template <typename T, int kSize>
__device__ Vector<T, kSize> rounded_to(const float (&from)[kSize]) {
  Vector<T, kSize> to;
  if constexpr (kHasPairs<T, kSize>) {
    auto* pairs = reinterpret_cast<typename Pair<T>::type*>(to.elements);
#pragma unroll
    for (int i = 0; i < kSize / 2; ++i) {
      pairs[i] = Pair<T>::rounded(from[2 * i], from[2 * i + 1]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      to.elements[i] = from_float<T>(from[i]);
    }
  }
  return to;
}

/// 16 bytes from device to shared memory, without a register on the way.
template <typename T>
__device__ void copy_to_shared(T* to, const T* from) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}

/// The same, or as many zeros.
__device__ inline void copy_or_clear(void* to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(exists ? 16 : 0)
               : "memory");
}

/// Waits for the thread's own copies; the others' are there after a barrier.
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// The same of groups: what a thread copied before each commit_copies() is one.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLatest>
__device__ void wait_for_copies_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLatest) : "memory");
}

__device__ inline float exp2_of(float x) {
  float result = 0;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Sum over `kLanes` neighbouring lanes, in all of them.
template <int kLanes = 32>
__device__ float sum_of_lanes(float value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}

/// Of two lanes kOffset apart, each takes the sums of kKept of their first 2 · kKept values to its
/// own first ones, and says which of them these were.
template <int kKept, int kOffset, int kSize>
[[nodiscard]] __device__ int share_sums(float (&values)[kSize]) {
  static_assert(2 * kKept <= kSize);
  const bool upper = (threadIdx.x & kOffset) != 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const float given = upper ? values[i] : values[kKept + i];
    values[i] =
        (upper ? values[kKept + i] : values[i]) + __shfl_xor_sync(kAllLanes, given, kOffset);
  }
  return upper ? kKept : 0;
}

/// Sum over a warp, in its first lane.
__device__ inline double sum_of_lanes_in_double(double value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_down_sync(kAllLanes, value, offset);
  }
  return value;
}

/// Sum over a thread block of kWarps warps, in all its threads; nobody else writes `of_warps`.
template <int kWarps>
__device__ float sum_of_block(float value, float (&of_warps)[kWarps]) {
  value = sum_of_lanes(value);
  if (threadIdx.x % 32 == 0) {
    of_warps[threadIdx.x / 32] = value;
  }
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (const float of_warp : of_warps) {
    sum += of_warp;
  }
  return sum;
}

/// To the host, which sees both words at once.
__device__ inline void send_to_host(void* to, unsigned first, unsigned second) {
  const std::uint64_t both = std::uint64_t{second} << 32U | first;
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(to), "l"(both) : "memory");
}

/// Kernels of a run are launched so that one may start while the one before it still runs
/// (programmatic dependent launch). Before this call a kernel may only read what no kernel of the
/// run writes: weights, the run's inputs, the past of the cache. After it, all that the kernels
/// before it wrote is visible. Every thread that writes must have called it.
__device__ inline void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Lets the next kernel start as soon as there is room for it.
__device__ inline void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// Blocks that share their work lie in a cluster and write to each other's shared memory. Devices
/// before sm_90 have no clusters: there, a block is alone.
///
/// What all blocks of a cluster did before arriving is visible to those that have waited.
__device__ inline void arrive_at_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
/// The same where nothing is to be visible but barriers that were made.
__device__ inline void arrive_at_cluster_early() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}
__device__ inline void wait_for_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

/// Where another block of the cluster has what this block calls `own`, a variable in shared memory.
template <typename T>
__device__ T* in_block(T* own, [[maybe_unused]] unsigned rank) {
#if __CUDA_ARCH__ >= 900
  return static_cast<T*>(__cluster_map_shared_rank(own, rank));
#else
  return own;
#endif
}
template <typename T>
__device__ T* in_first_block(T* own) {
  return in_block(own, 0);
}

constexpr int kMaxCluster = 8;  // blocks that every device with clusters grants

/// Of the current device; 0 where it does not say.
inline int attribute_of_device(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
                 cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess
             ? value
             : 0;
}

/// Of the current device, 10 · major + minor.
inline int compute_capability() {
  static const int capability = 10 * attribute_of_device(cudaDevAttrComputeCapabilityMajor) +
                                attribute_of_device(cudaDevAttrComputeCapabilityMinor);
  return capability;
}

/// Whether the current device has clusters.
inline bool device_has_clusters() { return compute_capability() >= 90; }

/// Whether sm_90a is among what a source is built for, as the build says of those that have code
/// for it alone; otherwise there are no kernels. It has no successors.
#ifdef KVCACHE_HAS_SM_90A
constexpr bool kBuiltForSm90a = true;
#else
constexpr bool kBuiltForSm90a = false;
#endif
inline bool device_runs_sm_90a() { return compute_capability() == 90; }

/// Dynamic shared memory that a block may ask for on the current device, beside 8 KB of its own.
inline std::size_t most_shared_bytes() {
  constexpr int kOwn = 8 << 10;
  static const int bytes = attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return bytes > kOwn ? static_cast<std::size_t>(bytes - kOwn) : 0;
}

/// Launches a kernel that calls wait_for_previous_kernel(), overlapping it with the one before
/// where the device can, or else `in_order`. The blocks along z form a cluster.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared_bytes,
                   LaunchOrder order, const Arguments&... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = order.overlaps ? 1 : 0;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = 1;
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = grid.z;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = order.stream;
  config.attrs = attributes;
  config.numAttrs = grid.z > 1 ? 2 : 1;
  return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

}  // namespace kvcache::kernels
