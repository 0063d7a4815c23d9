#include <type_traits>

#include "kernels/cuda/decoder_attention.cuh"
#include "kernels/cuda/decoder_step.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

/// The step of weights, cache and logits of 16 bits.
template <typename T, int kHeadDim, int kTokens>
class FusedDecoderStep
    : public DecoderStep<FusedDecoderStep<T, kHeadDim, kTokens>, DecoderArgs<T>, kTokens> {
  using Base = DecoderStep<FusedDecoderStep, DecoderArgs<T>, kTokens>;
  friend Base;

 public:
  __device__ FusedDecoderStep(const DecoderKernelArgs<DecoderArgs<T>>& args, unsigned char* dynamic,
                              FusedDecoderStatic<kTokens>& shared)
      : Base(args, shared.of_any),
        zero_(&shared.zero),
        weights_(args, dynamic, shared.of_any),
        inputs_(dynamic + args.layout.inputs_at),
        attention_(args, dynamic + args.layout.inputs_at, shared),
        vectors_(args.step.vectors) {}

 private:
  using Base::args_;
  using Base::exchange_;
  using Base::kContraction;
  using Base::kernel_;
  using Base::kExpansion;
  using Base::kHead;
  using Base::kProjection;
  using Base::kQkv;
  using Base::norm_scales_;
  using Base::product_;
  using Base::residual_at_;
  using Base::slice;
  using Base::thread_;
  using Base::token_;
  using Base::words_;

  using Rows = DecoderInputRows<T, kTokens>;
  using Pairs = typename Rows::Pairs;

  /// A token's row of the embedding.
  struct Embedded {
    const T* row;
    bool exists;

    [[nodiscard]] __device__ float2 scaled(unsigned pair, float scale) const {
      const float2 value = values_of<T>(pair);
      return exists ? float2{value.x * scale, value.y * scale} : float2{nanf(""), nanf("")};
    }
  };

  __device__ void load_tokens() { *zero_ = {0, 0, 0, 0}; }

  [[nodiscard]] __device__ Embedded embedded_of(int token) const {
    const std::int64_t id = args_.inputs.tokens[token].id;
    const bool exists = id >= 0 && id < args_.sizes.vocab_size;
    return {args_.token_weight + (exists ? id : 0) * args_.sizes.hidden, exists};
  }

  [[nodiscard]] __device__ float2 embedded_pair(int pair) const {
    const Embedded embedded = embedded_of(token_);
    return embedded.scaled(load_pair(embedded.row, pair), args_.embedding_scale);
  }

  __device__ void begin_layer(int layer) {
    vectors_ = args_.vectors + std::int64_t{layer} * args_.vector_layout.elements;
  }

  [[nodiscard]] __device__ int pieces() const { return kernel_.pieces[product_]; }

  [[nodiscard]] __device__ static Pairs pairs_of(const Octet (&x)[kTokens]) {
    Pairs pairs;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      pairs.of[t] = InputPairs::of<T>(x[t]);
    }
    return pairs;
  }

  /// Inner results are rounded where they are made.
  struct Inner {
    uint4 of[kTokens];
  };
  [[nodiscard]] __device__ Inner receive_inner(int at, bool has) const {
    const unsigned* const from = words_ + exchange_.expanded + at / 2;
    const auto arriving = receive_paced<4 * kTokens>([&](Arriving<4 * kTokens>& to) {
      for_tokens<kTokens>([&](auto token) {
        if (has && (kTokens == 1 || token < Base::count())) {
          to.template poll_four<4 * decltype(token)::value>(from + token * exchange_.words);
        }
      });
    });
    Inner inner;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const unsigned* const words = arriving.words + 4 * t;
      inner.of[t] = {words[0], words[1], words[2], words[3]};
    }
    return inner;
  }

  __device__ void fill_inputs() {
    if (product_ == kProjection) {
      inputs_.fill(slice(), pieces(), [&](int at, bool has) {
        Octet attended[kTokens];
        receive_attended<T, kHeadDim>(words_, exchange_, Base::count(), at, has, attended);
        return pairs_of(attended);
      });
    } else if (product_ == kContraction) {
      if constexpr (kTokens == 1) {
        inputs_.fill(slice(), pieces(), [&](int at, bool has) {
          const uint4 inner = receive_inner(at, has).of[0];
          return Pairs{{InputPairs{{inner.x, inner.y, inner.z, inner.w}, {}}}};
        });
      } else {
        inputs_.fill_rounded(slice(), pieces(),
                             [&](int at, bool has) { return receive_inner(at, has); });
      }
    } else {
      fill_from_residual(product_ == kHead ? args_.last_norm
                                           : vectors_ + args_.vector_layout.norms[product_ / 2]);
    }
  }

  /// The residual stream times a norm's weight. What the norm divides by is not known before all
  /// warps have come to the product's end (left_of_norm()); until then that of the norm before is
  /// near enough for 16 bits not to overflow.
  __device__ void fill_from_residual(const T* norm) {
    float squares[kTokens] = {};
    inputs_.fill(slice(), pieces(), [&](int at, bool has) {
      const uint4 none{0, 0, 0, 0};
      const uint4 weight = has ? __ldg(reinterpret_cast<const uint4*>(norm + at)) : none;
      Octet x[kTokens] = {};
      if (residual_at_ != nullptr) {
        Base::receive_from(residual_at_ + at, has, x);
      } else if (has) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          if (kTokens == 1 || t < Base::count()) {
            x[t] = embedded(embedded_of(t), at);
          }
        }
      }
      const Octet weights = Octet::of<T>(weight);
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          float& value = x[t].values[i];
          squares[t] += value * value;
          value *= weights.values[i] * norm_scales_[t];
        }
      }
      return pairs_of(x);
    });
    Base::keep_squares(squares);
  }

  __device__ Octet embedded(const Embedded& token, int at) const {
    const uint4 words = __ldg(reinterpret_cast<const uint4*>(token.row + at));
    const unsigned pairs[4]{words.x, words.y, words.z, words.w};
    Octet x;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = token.scaled(pairs[i], args_.embedding_scale);
      x.values[2 * i] = pair.x;
      x.values[2 * i + 1] = pair.y;
    }
    return x;
  }

  /// Whether the inputs at hand are rounded ones only.
  [[nodiscard]] __device__ bool has_rounded_inputs() const {
    return kTokens > 1 && product_ == kContraction;
  }

  __device__ void begin_product() {
    const bool has_inputs = thread_ % 32 < 4 * Base::count();
    pieces_ = slice().count;
    if (has_rounded_inputs()) {
      own_inputs_ = has_inputs ? inputs_.rounded_of_lane(slice().first, pieces()) : zero_;
      apart_ = has_inputs ? Rows::kRoundedVectors : 0;
    } else {
      own_inputs_ = has_inputs ? inputs_.of_lane(slice().first, pieces()) : zero_;
      apart_ = has_inputs ? kRowVectors : 0;
    }
  }

  /// The warp's sums of so many strips.
  __device__ void multiply_strips(int count, float2* sums) {
    const int lane = thread_ % 32;
#pragma unroll 1
    for (int strip = 0; strip < count; ++strip) {
      const float2 total = multiply_strip();
      if (lane < Base::kPairs * kTokens) {
        sums[strip * kSumsOfStripOf<kTokens> + lane] = total;
      }
    }
  }

  /// Of the next strip, of token t in lanes 4t … 4t + 3: those have inputs, the others zeros.
  __device__ float2 multiply_strip() {
    PieceSums sums;
    const uint4* inputs = own_inputs_;
#pragma unroll 1
    for (int pieces = pieces_; pieces > 0;) {
      const int count = weights_.wait(pieces);
      const uint4* const weights = weights_.first();
      Loads loads;
      if (has_rounded_inputs()) {
#pragma unroll 4
        for (int i = 0; i < count; ++i) {
          const uint4 weight = weights[i * kPieceVectors];
          loads.add(weight);
          sums.template add<T>(weight, inputs[0]);
          inputs += apart_;
        }
      } else {
#pragma unroll 4
        for (int i = 0; i < count; ++i) {
          const uint4 weight = weights[i * kPieceVectors];
          loads.add(weight);
          sums.template add<T>(weight, inputs[0], inputs[apart_ / 2]);
          inputs += apart_;
        }
      }
      weights_.advance(count, loads);
      pieces -= count;
    }
    return sums.total();
  }

  /// A pair of columns of the product, by the thread that has their sums; `lanes` of its warp have
  /// one.
  __device__ void finish(int pair, float2 sum, unsigned lanes) {
    if (product_ == kHead) {
      take(2 * pair, sum.x);
      take(2 * pair + 1, sum.y);
      return;
    }
    if (const int bias = args_.vector_layout.biases[product_]; bias >= 0) {
      const float2 biases = values_of<T>(load_pair(vectors_ + bias, pair));
      sum = {sum.x + biases.x, sum.y + biases.y};
    }
    if (product_ == kQkv) {
      send(words_ + Base::of_token() + pair, pair_of<T>(sum.x, sum.y));
    } else if (product_ == kExpansion) {
      expanded(pair, sum, lanes);
    } else {
      Base::add_to_residual(pair, sum);
    }
  }

  __device__ void expanded(int pair, float2 sum, unsigned lanes) const {
    const SigmoidGate gate(args_.activation);
    unsigned* const to = words_ + Base::of_token() + exchange_.expanded;
    const float first = gate.of(sum.x);
    if (args_.sizes.gated) {
      const float value = first * sum.y;
      const float next = __shfl_down_sync(lanes, value, 1);
      if (pair % 2 == 0) {
        send(to + pair / 2, pair_of<T>(value, next));
      }
    } else {
      send(to + pair, pair_of<T>(first, gate.of(sum.y)));
    }
  }

  __device__ void take(int token, float logit) {
    if (token < args_.sizes.vocab_size) {
      const T rounded = from_float<T>(logit);
      if constexpr (kTokens == 1) {
        args_.logits[token] = rounded;
      } else {
        Base::for_logits_rows([&](int row) {
          args_.logits[std::int64_t{row} * args_.sizes.vocab_size + token] = rounded;
        });
      }
      Base::take(token, to_float(rounded));
    }
  }

  uint4* zero_;  // the inputs of lanes that have none
  DecoderWeights<T> weights_;
  Rows inputs_;
  DecoderAttention<T, kHeadDim, kTokens> attention_;
  const T* vectors_;                   // of the layer
  const uint4* own_inputs_ = nullptr;  // the lane's, of the product at hand
  int apart_ = 0;
  int pieces_ = 0;
};

template <typename T, int kHeadDim, int kTokens>
__global__ void __launch_bounds__(kDecoderThreads, 1)
    fused_decoder_kernel(const __grid_constant__ DecoderKernelArgs<DecoderArgs<T>> args) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ FusedDecoderStatic<kTokens> shared;
  shared.of_any.work.fill(args);
  __syncthreads();
  FusedDecoderStep<T, kHeadDim, kTokens>(args, dynamic, shared).run();
}

template <typename T>
struct PackArgs {
  DecoderSizes sizes;
  int layer;
  DecoderProduct product;
  const T* weight;
  const std::int64_t* stream_at;
  int blocks;
  T* stream;
};

/// Grid: pieces, strips. A thread has eight inputs of a column.
template <typename T>
__global__ void pack_decoder_weight_kernel(const PackArgs<T> args) {
  constexpr int kPanel = static_cast<int>(kPanelColumns);
  const DecoderSizes& sizes = args.sizes;
  const int piece = static_cast<int>(blockIdx.x);
  const int strip = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x);
  const int block = owner_of(strip, sizes.strips(args.product), args.blocks);
  const int warp = owner_of(piece, sizes.pieces(args.product), kDecoderWarps);
  const DecoderStream of_warp{sizes, block, args.blocks, warp};
  const std::int64_t at = args.stream_at[block * kDecoderWarps + warp] +
                          of_warp.place(args.layer, args.product, strip, piece);
  const int inputs = sizes.inputs(args.product);
  const int input = piece * kPieceInputs + lane % 4 * 8;
  const int output = strip * kStripColumns + lane / 4;
  T* const to = args.stream + (at * 32 + lane) * 8;
  for (int i = 0; i < 8; ++i) {
    T value = from_float<T>(0.0F);
    if (output < sizes.outputs(args.product)) {
      if (args.product == DecoderProduct::head) {
        value = args.weight[std::int64_t{output} * inputs + input + i];
      } else {
        const bool gated = args.product == DecoderProduct::expansion && sizes.gated;
        const int column = gated ? output / 2 : output;
        const int panel = gated ? 2 * (column / kPanel) + output % 2 : column / kPanel;
        value = args.weight[(std::int64_t{panel} * inputs + input + i) * kPanel + column % kPanel];
      }
    }
    to[i] = value;
  }
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
  for (const auto product : {DecoderProduct::qkv, DecoderProduct::projection,
                             DecoderProduct::expansion, DecoderProduct::contraction}) {
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

void decoder_stream_places(const DecoderSizes& sizes, int blocks, std::int64_t* places) {
  std::int64_t at = 0;
  for (int block = 0; block < blocks; ++block) {
    for (int warp = 0; warp < kDecoderWarps; ++warp) {
      *places++ = at;
      at += std::int64_t{DecoderStream{sizes, block, blocks, warp}.chunks()} * kChunkPieces;
    }
  }
  *places = at;
}

template <typename T>
cudaError_t pack_decoder_weight(const DecoderSizes& sizes, int layer, DecoderProduct product,
                                const T* weight, const std::int64_t* stream_at, int blocks,
                                T* stream, cudaStream_t stream_of_device) {
  const dim3 grid(static_cast<unsigned>(sizes.pieces(product)),
                  static_cast<unsigned>(sizes.strips(product)));
  pack_decoder_weight_kernel<<<grid, 32, 0, stream_of_device>>>(
      PackArgs<T>{sizes, layer, product, weight, stream_at, blocks, stream});
  return cudaGetLastError();
}

template <typename T>
cudaError_t fused_decoder(const DecoderArgs<T>& args, const DecoderExchange& exchange, int capacity,
                          int multiprocessors, cudaStream_t stream) {
  return with_decoder_tokens<kMaxDecoderTokens>(capacity, [&](auto tokens) {
    constexpr int kTokens = decltype(tokens)::value;
    const int memory = shared_capacity<FusedDecoderStatic<kTokens>>();
    const DecoderKernelArgs<DecoderArgs<T>> of_kernel(
        args, DecoderShared::of(args.sizes, memory, kTokens), exchange);
    return with_decoder_head_dim(args.sizes.head_dim, cudaErrorInvalidValue, [&](auto size) {
      const auto kernel = fused_decoder_kernel<T, decltype(size)::value, kTokens>;
      static const cudaError_t more_shared =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory);
      if (more_shared != cudaSuccess) {
        return more_shared;
      }
      const TogetherConfig of_step(multiprocessors, kDecoderThreads, 1, of_kernel.layout.bytes,
                                   stream);
      return cudaLaunchKernelEx(&of_step.config, kernel, of_kernel);
    });
  });
}

template cudaError_t pack_decoder_weight(const DecoderSizes&, int, DecoderProduct, const __half*,
                                         const std::int64_t*, int, __half*, cudaStream_t);
template cudaError_t pack_decoder_weight(const DecoderSizes&, int, DecoderProduct,
                                         const __nv_bfloat16*, const std::int64_t*, int,
                                         __nv_bfloat16*, cudaStream_t);
template cudaError_t fused_decoder(const DecoderArgs<__half>&, const DecoderExchange&, int, int,
                                   cudaStream_t);
template cudaError_t fused_decoder(const DecoderArgs<__nv_bfloat16>&, const DecoderExchange&, int,
                                   int, cudaStream_t);

}  // namespace kvcache::kernels
