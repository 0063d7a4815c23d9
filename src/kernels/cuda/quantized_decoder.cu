#include "kernels/cuda/quantized_decoder.hpp"
#include "kernels/cuda/quantized_decoder_step.cuh"

namespace kvcache::kernels {
namespace {

// Four warps more, of which one fetches: registers go from four warps to four.
constexpr int kQuantizedDecoderThreads = kDecoderThreads + 128;

template <typename Cache, int kHeadDim, int kTokens>
__global__ void __launch_bounds__(kQuantizedDecoderThreads, 1) quantized_decoder_kernel(
    const __grid_constant__ DecoderKernelArgs<QuantizedDecoderArgs<Cache>> args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ QuantizedDecoderStatic<kTokens> shared;
  shared.of_any.work.fill(args);
  if (threadIdx.x < kDecoderWarps) {
    QuantizedDecoderRing(args.layout, static_cast<int>(threadIdx.x), dynamic, shared).initialize();
  }
  __syncthreads();
  if (threadIdx.x >= kDecoderThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    // Not beside the warps that end products, the first ones.
    if (threadIdx.x >= kQuantizedDecoderThreads - 32) {
      fetch_quantized_weights(args, dynamic, shared);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    QuantizedDecoderStep<Cache, kHeadDim, kTokens>(args, dynamic, shared).run();
  }
#endif
}

}  // namespace

const char* why_no_quantized_decoder(const QuantizedDecoderSizes& sizes, int multiprocessors) {
  if (const char* why_not = why_no_decoder_form(sizes, multiprocessors)) {
    return why_not;
  }
  if (!kBuiltForSm90a || !device_runs_sm_90a()) {
    return "the GPU is not of sm_90, or this build has no code for it";
  }
  for (int product = 0; product <= kLayerProducts; ++product) {
    const auto which = static_cast<DecoderProduct>(product);
    if (sizes.pieces(which) % sizes.kind(which).block_pieces != 0) {
      return "a matrix of it has inputs that are no multiple of a block's";
    }
    if (which != DecoderProduct::head && sizes.strips(which) % kStripsTogether != 0) {
      return "a matrix of it has outputs that are no multiple of 16";
    }
  }
  return quantized_decoder_shared(sizes, shared_capacity<QuantizedDecoderStatic<1>>()).chunks == 0
             ? kInputsDoNotFit
             : nullptr;
}

int most_quantized_decoder_tokens(const QuantizedDecoderSizes& sizes, int multiprocessors) {
  return most_tokens_of_decoder<kMaxQuantizedDecoderTokens>(
      sizes, multiprocessors, [&](auto tokens) {
        constexpr int kTokens = decltype(tokens)::value;
        return quantized_decoder_shared(sizes, shared_capacity<QuantizedDecoderStatic<kTokens>>(),
                                        kTokens)
            .chunks;
      });
}

template <typename Cache>
cudaError_t quantized_decoder(const QuantizedDecoderArgs<Cache>& args,
                              const DecoderExchange& exchange, int capacity, int multiprocessors,
                              cudaStream_t stream) {
  const QuantizedDecoderSizes sizes{args.sizes, args.layer_kind, args.head_kind};
  return with_decoder_tokens<kMaxQuantizedDecoderTokens>(capacity, [&](auto tokens) {
    constexpr int kTokens = decltype(tokens)::value;
    const int memory = shared_capacity<QuantizedDecoderStatic<kTokens>>();
    DecoderKernelArgs<QuantizedDecoderArgs<Cache>> of_kernel(
        args, quantized_decoder_shared(sizes, memory, kTokens), exchange);
    // Of several tokens a warp has a token's strips of one piece.
    of_kernel.step.hands_over_rounded = sizes.hands_over_rounded(multiprocessors) &&
                                        (kTokens == 1 || sizes.layer_kind.block_pieces == 1);
    for (int product = 0; product <= kLayerProducts; ++product) {
      const auto which = static_cast<DecoderProduct>(product);
      of_kernel.strips_together[product] = sizes.strips_together(which, multiprocessors);
      of_kernel.together[product] = sizes.kind(which).block_pieces;
    }
    return with_decoder_head_dim(args.sizes.head_dim, cudaErrorInvalidValue, [&](auto size) {
      const auto kernel = quantized_decoder_kernel<Cache, decltype(size)::value, kTokens>;
      static const cudaError_t more_shared =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory);
      if (more_shared != cudaSuccess) {
        return more_shared;
      }
      const TogetherConfig of_step(multiprocessors, kQuantizedDecoderThreads, 1,
                                   of_kernel.layout.bytes, stream);
      return cudaLaunchKernelEx(&of_step.config, kernel, of_kernel);
    });
  });
}

template cudaError_t quantized_decoder(const QuantizedDecoderArgs<float>&, const DecoderExchange&,
                                       int, int, cudaStream_t);
template cudaError_t quantized_decoder(const QuantizedDecoderArgs<__half>&, const DecoderExchange&,
                                       int, int, cudaStream_t);
template cudaError_t quantized_decoder(const QuantizedDecoderArgs<__nv_bfloat16>&,
                                       const DecoderExchange&, int, int, cudaStream_t);

}  // namespace kvcache::kernels
