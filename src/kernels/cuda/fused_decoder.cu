#include "kernels/cuda/fused_decoder_step.cuh"

namespace kvcache::kernels {
namespace {

template <typename T, int kHeadDim, int kTokens, bool kLayerNorm>
__global__ void __launch_bounds__(kDecoderThreads, 1)
    fused_decoder_kernel(const __grid_constant__ DecoderKernelArgs<DecoderArgs<T>> args) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ FusedDecoderStatic<kTokens> shared;
  shared.of_any.work.fill(args);
  __syncthreads();
  FusedDecoderStep<T, kHeadDim, kTokens, kLayerNorm>(args, dynamic, shared).run();
}

}  // namespace

const char* why_no_decoder_form(const DecoderSizes& sizes, int multiprocessors) {
  if (!device_has_clusters()) {
    return "the GPU is older than sm_90";
  }
  if (!with_decoder_head_dim(sizes.head_dim, false, [](auto /*size*/) { return true; })) {
    return "its heads have neither 64 nor 128 elements";
  }
  if (sizes.group() > kMaxGroup) {
    return "more than 8 query heads share a head of keys";
  }
  if (sizes.kv_heads > multiprocessors) {
    return "it has more heads of keys than the GPU multiprocessors";
  }
  if (sizes.layers > kMaxDecoderLayers) {
    return "it has more than 96 layers";
  }
  for (const auto product : kProductsOfLayer) {
    if (sizes.inputs(product) % kPieceInputs != 0 || sizes.outputs(product) % kStripColumns != 0) {
      return "a matrix of it has inputs that are no multiple of 32, or outputs that are none of 8";
    }
  }
  if (sizes.strips(DecoderProduct::contraction) > kGroupStrips * multiprocessors) {
    return "its hidden size is too large for the GPU's multiprocessors";
  }
  return nullptr;
}

const char* why_no_decoder(const DecoderSizes& sizes, int multiprocessors) {
  if (const char* why_not = why_no_decoder_form(sizes, multiprocessors)) {
    return why_not;
  }
  return DecoderShared::of(sizes, shared_capacity<FusedDecoderStatic<1>>()).chunks == 0
             ? kInputsDoNotFit
             : nullptr;
}

int most_decoder_tokens(const DecoderSizes& sizes, int multiprocessors) {
  return most_tokens_of_decoder<kMaxDecoderTokens>(sizes, multiprocessors, [&](auto tokens) {
    constexpr int kTokens = decltype(tokens)::value;
    return DecoderShared::of(sizes, shared_capacity<FusedDecoderStatic<kTokens>>(), kTokens).chunks;
  });
}

template <typename T>
cudaError_t fused_decoder(const DecoderArgs<T>& args, const DecoderExchange& exchange, int capacity,
                          int multiprocessors, cudaStream_t stream) {
  return with_decoder_tokens<kMaxDecoderTokens>(capacity, [&](auto tokens) {
    constexpr int kTokens = decltype(tokens)::value;
    const int memory = shared_capacity<FusedDecoderStatic<kTokens>>();
    const DecoderKernelArgs<DecoderArgs<T>> of_kernel(
        args, DecoderShared::of(args.sizes, memory, kTokens), exchange);
    const auto launch = [&](auto size, auto layer_norm) {
      const auto kernel =
          fused_decoder_kernel<T, decltype(size)::value, kTokens, decltype(layer_norm)::value>;
      static const cudaError_t more_shared =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory);
      if (more_shared != cudaSuccess) {
        return more_shared;
      }
      const TogetherConfig of_step(multiprocessors, kDecoderThreads, 1, of_kernel.layout.bytes,
                                   stream);
      return cudaLaunchKernelEx(&of_step.config, kernel, of_kernel);
    };
    return with_decoder_head_dim(args.sizes.head_dim, cudaErrorInvalidValue, [&](auto size) {
      return args.sizes.layer_norms ? launch(size, std::true_type{})
                                    : launch(size, std::false_type{});
    });
  });
}

template cudaError_t fused_decoder(const DecoderArgs<__half>&, const DecoderExchange&, int, int,
                                   cudaStream_t);
template cudaError_t fused_decoder(const DecoderArgs<__nv_bfloat16>&, const DecoderExchange&, int,
                                   int, cudaStream_t);

}  // namespace kvcache::kernels
