#include "plan/cuda/quantized_decoder_model.hpp"

#include "kernels/cuda/quantized_decoder.hpp"
#include "plan/cuda/decoder_model.hpp"

namespace kvcache::plan {
namespace {

/// @throws NotFused where a block of inputs has not whole pieces
kernels::QuantizedKind kind_of(const kernels::QuantizedWeight& weight) {
  require(weight.block_size >= kernels::kPieceInputs, "its weights have a scale for 16 inputs");
  return {.bits = static_cast<int>(weight.bits),
          .minimums = weight.minimums,
          .block_pieces = static_cast<int>(weight.block_size / kernels::kPieceInputs)};
}

template <typename CacheElement>
struct QuantizedDecoder {
  using Nodes = QuantizedNodes;
  using Args = kernels::QuantizedDecoderArgs<CacheElement>;
  using Sizes = kernels::QuantizedDecoderSizes;
  using Cache = CacheElement;
  static constexpr auto kElements = kernels::ExchangeElements::floats;
  static constexpr std::size_t kPlaceBytes = 1;

  static Sizes sizes_of(const DecoderNodes<Nodes>& nodes) {
    Sizes sizes{nodes.sizes(), kind_of(nodes.layers.front().products[0].weight),
                kind_of(nodes.head.weight)};
    for (const auto& layer : nodes.layers) {
      for (const auto& matrix : layer.products) {
        require(kind_of(matrix.weight) == sizes.layer_kind,
                "its layers have weights of several types or sizes of blocks");
      }
    }
    return sizes;
  }
  static const char* why_not(const Sizes& sizes, int multiprocessors) {
    return kernels::why_no_quantized_decoder(sizes, multiprocessors);
  }
  static int most_tokens(const Sizes& sizes, int multiprocessors) {
    return kernels::most_quantized_decoder_tokens(sizes, multiprocessors);
  }
  static void places(const Sizes& sizes, int blocks, std::int64_t* places) {
    kernels::quantized_decoder_stream_places(sizes, blocks, places);
  }
  static cudaError_t pack(const Sizes& sizes, int layer, kernels::DecoderProduct product,
                          const kernels::QuantizedWeight& weight, const std::int64_t* stream_at,
                          int blocks, void* to, cudaStream_t stream) {
    return kernels::pack_quantized_decoder_weight(sizes, layer, product, weight, stream_at, blocks,
                                                  static_cast<unsigned char*>(to), stream);
  }
  static void set_weights(const DecoderNodes<Nodes>& nodes, const Sizes& sizes, const void* packed,
                          Args& args) {
    args.tokens = nodes.tokens.weight;
    args.layer_kind = sizes.layer_kind;
    args.head_kind = sizes.head_kind;
    args.stream = static_cast<const unsigned char*>(packed);
  }
  static cudaError_t launch(const Args& args, const kernels::DecoderExchange& exchange,
                            int capacity, int multiprocessors, cudaStream_t stream) {
    return kernels::quantized_decoder(args, exchange, capacity, multiprocessors, stream);
  }
};

}  // namespace

std::shared_ptr<FusedModel> fuse_quantized_decoder(const Plan& plan, const CudaWeights& weights,
                                                   const StepBinding& binding, int multiprocessors,
                                                   cudaStream_t stream) {
  const DecoderNodes<QuantizedNodes> nodes(plan, weights);
  const auto make = [&]<typename Cache>(Cache) -> std::shared_ptr<FusedModel> {
    return std::make_shared<DecoderModel<QuantizedDecoder<Cache>>>(nodes, binding, multiprocessors,
                                                                   stream);
  };
  switch (binding.cache_type) {
    case DataType::float32:
      return make(float{});
    case DataType::float16:
      return make(__half{});
    case DataType::bfloat16:
      return make(__nv_bfloat16{});
    default:
      throw NotFused("its cache is of int8");
  }
}

}  // namespace kvcache::plan
