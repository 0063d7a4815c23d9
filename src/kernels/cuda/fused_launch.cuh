// Launching the fused steps, and what they share: one block on each multiprocessor.
#pragma once

#include "kernels/cuda/exchange.cuh"
#include "kernels/cuda/fused_block.cuh"

namespace kvcache::kernels {

constexpr int kFetchingThread = kFusedThreads - 32;  // of the last warp, which ends no product

/// The tanh approximation of gelu (Hendrycks and Gimpel, arXiv:1606.08415), by way of
/// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)).
__device__ inline float gelu_by_exp(float x) {
  constexpr float kTwoLog2E = 2.302208198F;  // 2 · sqrt(2 / pi) · log2(e)
  return __fdividef(x, 1.0F + exp2_of(-kTwoLog2E * (x + 0.044715F * x * x * x)));
}

/// Two neighbouring 16-bit elements of what no kernel writes.
template <typename T>
__device__ unsigned load_pair(const T* from, int pair) {
  return __ldg(reinterpret_cast<const unsigned*>(from) + pair);
}

/// A share of a set of exchanges that is not in use becomes ready: every word is not there yet.
__device__ inline void clear_share(unsigned* exchange, int words) {
  auto* to = reinterpret_cast<uint4*>(exchange);
#pragma unroll 1
  for (int i = static_cast<int>(blockIdx.x) * kFusedThreads + static_cast<int>(threadIdx.x);
       i < (words + 3) / 4; i += static_cast<int>(gridDim.x) * kFusedThreads) {
    to[i] = {kNotYet, kNotYet, kNotYet, kNotYet};
  }
}

/// Bytes of dynamic shared memory that a block may have beside its static shared memory.
template <typename Static = FusedShared>
int shared_capacity() {
  constexpr int kStaticBytes = (static_cast<int>(sizeof(Static)) + 127) / 128 * 128;
  static const int capacity =
      attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlockOptin) - kStaticBytes;
  return capacity;
}

/// How many of a block's strips of the head fit into half of the second-level cache, the other half
/// being for all that passes through.
inline int kept_head_strips(const FusedSizes& sizes, int blocks) {
  static const int cache = attribute_of_device(cudaDevAttrL2CacheSize);
  return cache / 2 / (blocks * sizes.hidden * kStripColumns * 2);
}

/// A launch in which `cluster` neighbours are a cluster. Where blocks wait for more than those, it
/// is to be `together`: all of them run at once, or none.
struct ClusterConfig {
  ClusterConfig(int blocks, int threads, int cluster, int shared_bytes, cudaStream_t stream,
                bool together = false) {
    if (cluster > 1) {
      cudaLaunchAttribute& dimension = attributes[config.numAttrs++];
      dimension.id = cudaLaunchAttributeClusterDimension;
      dimension.val.clusterDim.x = static_cast<unsigned>(cluster);
      dimension.val.clusterDim.y = 1;
      dimension.val.clusterDim.z = 1;
    }
    if (together) {
      cudaLaunchAttribute& cooperative = attributes[config.numAttrs++];
      cooperative.id = cudaLaunchAttributeCooperative;
      cooperative.val.cooperative = 1;
    }
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
    config.stream = stream;
    config.attrs = attributes;
  }
  ClusterConfig(const ClusterConfig&) = delete;
  ClusterConfig& operator=(const ClusterConfig&) = delete;

  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
};

/// A launch of blocks that wait for each other.
struct TogetherConfig : ClusterConfig {
  TogetherConfig(int blocks, int threads, int cluster, int shared_bytes, cudaStream_t stream)
      : ClusterConfig(blocks, threads, cluster, shared_bytes, stream, true) {}
};

/// A block on each multiprocessor.
template <typename Args>
cudaError_t launch_together(void (*kernel)(Args), const Args& args, int multiprocessors,
                            int shared_bytes, cudaStream_t stream) {
  const TogetherConfig of_step(multiprocessors, kFusedThreads, 1, shared_bytes, stream);
  return cudaLaunchKernelEx(&of_step.config, kernel, args);
}

}  // namespace kvcache::kernels
