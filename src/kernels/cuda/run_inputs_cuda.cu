#include <cuda_runtime.h>

#include "base/rounding.hpp"
#include "kernels/cuda/run_inputs_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 128;

/// A thread has 16 bytes, the last one fewer. Nobody lets the next kernel start: it does when this
/// one has ended.
__global__ void __launch_bounds__(kThreads)
    bring_inputs_kernel(const std::byte* host, std::byte* device, std::size_t bytes) {
  const std::size_t at = (std::size_t{blockIdx.x} * kThreads + threadIdx.x) * sizeof(uint4);
  if (at + sizeof(uint4) <= bytes) {
    *reinterpret_cast<uint4*>(device + at) = *reinterpret_cast<const uint4*>(host + at);
  } else {
    for (std::size_t i = at; i < bytes; ++i) {
      device[i] = host[i];
    }
  }
}

}  // namespace

cudaError_t bring_inputs(const std::byte* host, std::byte* device, std::size_t bytes,
                         cudaStream_t stream) {
  if (bytes == 0) {
    return cudaSuccess;
  }
  const std::size_t blocks = divide_up(bytes, std::size_t{kThreads} * sizeof(uint4));
  bring_inputs_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(host, device, bytes);
  return cudaGetLastError();
}

}  // namespace kvcache::kernels
