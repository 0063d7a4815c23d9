#include "plan/cuda/fused_decoder_model.hpp"

#include <cstdint>

#include "kernels/cuda/fused_decoder.hpp"
#include "plan/cuda/decoder_model.hpp"
#include "plan/cuda/decoder_nodes.hpp"
#include "plan/cuda/not_fused.hpp"

namespace kvcache::plan {
namespace {

/// Weights, cache and logits of one type of 16 bits.
template <typename T>
struct SixteenBitDecoder {
  using Nodes = SixteenBitNodes<T>;
  using Args = kernels::DecoderArgs<T>;
  using Sizes = kernels::DecoderSizes;
  using Cache = T;
  static constexpr auto kElements = kernels::ExchangeElements::pairs;
  static constexpr std::size_t kPlaceBytes = kernels::kPieceBytes;

  static Sizes sizes_of(const DecoderNodes<Nodes>& nodes) { return nodes.sizes(); }
  static const char* why_not(const Sizes& sizes, int multiprocessors) {
    return kernels::why_no_decoder(sizes, multiprocessors);
  }
  static int most_tokens(const Sizes& sizes, int multiprocessors) {
    return kernels::most_decoder_tokens(sizes, multiprocessors);
  }
  static void places(const Sizes& sizes, int blocks, std::int64_t* places) {
    kernels::decoder_stream_places(sizes, blocks, places);
  }
  static cudaError_t pack(const Sizes& sizes, int layer, kernels::DecoderProduct product,
                          const T* weight, const std::int64_t* stream_at, int blocks, void* to,
                          cudaStream_t stream) {
    return kernels::pack_decoder_weight(sizes, layer, product, weight, stream_at, blocks,
                                        static_cast<T*>(to), stream);
  }
  static void set_weights(const DecoderNodes<Nodes>& nodes, const Sizes& /*sizes*/,
                          const void* packed, Args& args) {
    args.token_weight = nodes.tokens.weight;
    args.position_weight = nodes.tokens.position_weight;
    args.positions = nodes.tokens.positions;
    args.stream = static_cast<const T*>(packed);
  }
  static cudaError_t pack_normed(const Sizes& sizes, kernels::DecoderProduct product,
                                 const typename Nodes::Matrix& matrix, float4* to,
                                 cudaStream_t stream) {
    return kernels::pack_normed_columns(sizes, product, matrix.weight, matrix.norm, matrix.bias, to,
                                        stream);
  }
  static void set_normed(const kernels::NormedColumns& layout, const float4* columns, Args& args) {
    args.normed_layout = layout;
    args.normed_columns = columns;
  }
  static cudaError_t launch(const Args& args, const kernels::DecoderExchange& exchange,
                            int capacity, int multiprocessors, cudaStream_t stream) {
    return kernels::fused_decoder(args, exchange, capacity, multiprocessors, stream);
  }
};

}  // namespace

template <typename T>
std::shared_ptr<FusedModel> fuse_decoder(const Plan& plan, const CudaWeights& weights,
                                         const StepBinding& binding, int multiprocessors,
                                         cudaStream_t stream) {
  const DecoderNodes<SixteenBitNodes<T>> nodes(plan, weights);
  return std::make_shared<DecoderModel<SixteenBitDecoder<T>>>(nodes, binding, multiprocessors,
                                                              stream);
}

template <typename T>
void require_large_layers(const Plan& plan, const CudaWeights& weights) {
  constexpr std::int64_t kSmall = 7'000'000;  // weights; on an H200
  const kernels::DecoderSizes sizes = DecoderNodes<SixteenBitNodes<T>>(plan, weights).sizes();
  std::int64_t of_layer = 0;
  for (const auto product : kernels::kProductsOfLayer) {
    of_layer += std::int64_t{sizes.inputs(product)} * sizes.outputs(product);
  }
  require(!sizes.layer_norms || of_layer >= kSmall,
          "its layers are so small that a captured graph is faster");
}

template std::shared_ptr<FusedModel> fuse_decoder<__half>(const Plan&, const CudaWeights&,
                                                          const StepBinding&, int, cudaStream_t);
template std::shared_ptr<FusedModel> fuse_decoder<__nv_bfloat16>(const Plan&, const CudaWeights&,
                                                                 const StepBinding&, int,
                                                                 cudaStream_t);
template void require_large_layers<__half>(const Plan&, const CudaWeights&);
template void require_large_layers<__nv_bfloat16>(const Plan&, const CudaWeights&);

}  // namespace kvcache::plan
