#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/embedding_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;

/// Grid: tokens.
template <typename T>
__global__ void __launch_bounds__(kThreads) token_embedding_kernel(EmbeddingCudaArgs<T> args) {
  // The run's first kernel lets the others start only once all before the run has ended: they may
  // then read the run's inputs and the past of the cache at any time.
  wait_for_previous_kernel();
  let_next_kernel_start();
  const std::int64_t id = args.input_ids[blockIdx.x];
  const bool has_place = args.position_weight != nullptr;
  const std::int64_t position = has_place ? args.position_ids[blockIdx.x] : 0;
  const bool exists = id >= 0 && id < args.vocab_size &&
                      (!has_place || (position >= 0 && position < args.max_seq_len));
  const T* token = args.token_weight + id * args.size;
  const T* place = args.position_weight + position * args.size;
  T* out = args.out + std::int64_t{blockIdx.x} * args.size;
  for (std::int64_t i = threadIdx.x; i < args.size; i += kThreads) {
    const float at_place = exists && has_place ? to_float(place[i]) : 0.0F;
    out[i] = from_float<T>(exists ? args.scale * to_float(token[i]) + at_place : nanf(""));
  }
}

}  // namespace

template <typename T>
cudaError_t token_embedding_cuda(const EmbeddingCudaArgs<T>& args, cudaStream_t stream) {
  return launch(token_embedding_kernel<T>, dim3(static_cast<unsigned>(args.tokens)), kThreads, 0,
                stream, args);
}

template cudaError_t token_embedding_cuda(const EmbeddingCudaArgs<float>&, cudaStream_t);
template cudaError_t token_embedding_cuda(const EmbeddingCudaArgs<__half>&, cudaStream_t);
template cudaError_t token_embedding_cuda(const EmbeddingCudaArgs<__nv_bfloat16>&, cudaStream_t);

}  // namespace kvcache::kernels
