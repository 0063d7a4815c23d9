#include <climits>
#include <type_traits>

#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/decoder_attention.cuh"
#include "kernels/cuda/fused_decoder.hpp"
#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/logit_order.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

/// One block's way through the step.
template <typename T, int kHeadDim>
class DecoderStep {
 public:
  __device__ DecoderStep(const DecoderKernelArgs<T>& args, unsigned char* dynamic,
                         DecoderStatic& shared)
      : args_(args.step),
        exchange_(args.exchange),
        shared_(shared),
        thread_(static_cast<int>(threadIdx.x)),
        stream_{args_.sizes, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x),
                thread_ / 32},
        weights_(args, stream_, dynamic, shared),
        inputs_(dynamic + args.layout.inputs_at),
        attention_(args, dynamic + args.layout.inputs_at, shared) {}

  __device__ void run() {
    start();
#pragma unroll 1
    for (int layer = 0; layer < args_.sizes.layers; ++layer) {
      words_ = args_.exchange + layer * exchange_.layer_words();
      vectors_ = args_.vectors + std::int64_t{layer} * args_.vector_layout.elements();
      if (attention_.takes_part()) {
        attention_.prefetch(layer);
      }
      make_queries(layer);
      if (attention_.takes_part()) {
        attention_.run(layer, words_);
      }
      project();
      expand();
      contract();
    }
    finish();
  }

 private:
  static constexpr auto kQkv = DecoderProduct::qkv;
  static constexpr auto kProjection = DecoderProduct::projection;
  static constexpr auto kExpansion = DecoderProduct::expansion;
  static constexpr auto kContraction = DecoderProduct::contraction;
  static constexpr auto kHead = DecoderProduct::head;

  __device__ void start() {
    weights_.begin();
    const std::int64_t id = args_.inputs.input_id;
    exists_ = id >= 0 && id < args_.sizes.vocab_size;
    token_ = args_.token_weight + (exists_ ? id : 0) * args_.sizes.hidden;
    if (thread_ < stream_.strips(kContraction).count * kPairs) {
      residual_ = embedded(load_pair(token_, pair_of_thread(kContraction)));
    }
    if (attention_.takes_part()) {
      attention_.load_angles();
    }
    clear();
    __syncthreads();
  }

  __device__ void clear() const {
    auto* const to = reinterpret_cast<uint4*>(args_.other_exchange);
#pragma unroll 1
    for (int i = static_cast<int>(blockIdx.x) * kDecoderThreads + thread_;
         i < args_.other_words / 4; i += static_cast<int>(gridDim.x) * kDecoderThreads) {
      to[i] = {kNotYet, kNotYet, kNotYet, kNotYet};
    }
  }

  [[nodiscard]] __device__ float2 embedded(unsigned pair) const {
    const float2 value = values_of<T>(pair);
    return exists_ ? float2{value.x * args_.embedding_scale, value.y * args_.embedding_scale}
                   : float2{nanf(""), nanf("")};
  }

  /// The pair of a product's columns that this thread ends, of its block's first group.
  [[nodiscard]] __device__ int pair_of_thread(DecoderProduct product) const {
    return stream_.strips(product).first * kPairs + thread_;
  }

  /// The residual stream times a norm's weight. `from` null: the embedding. What the norm divides
  /// by is not known before all warps have come to its product's end (normed()); until then that
  /// of the norm before is near enough for 16 bits not to overflow.
  __device__ void load_residual(const unsigned* from, const T* norm) {
    const Share slice = stream_.slice(kQkv);
    float squares = 0;
    inputs_.fill(slice, apart(kQkv), [&](int at, bool has) {
      const uint4 weight =
          has ? __ldg(reinterpret_cast<const uint4*>(norm + at)) : uint4{0, 0, 0, 0};
      Octet x = {};
      if (from == nullptr) {
        if (has) {
          const uint4 token = __ldg(reinterpret_cast<const uint4*>(token_ + at));
          const unsigned pairs[4]{token.x, token.y, token.z, token.w};
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float2 pair = embedded(pairs[i]);
            x.values[2 * i] = pair.x;
            x.values[2 * i + 1] = pair.y;
          }
        }
      } else {
        const auto arriving = receive<8>([&](Arriving<8>& to) {
          if (has) {
            to.template poll_four<0>(from + at);
            to.template poll_four<4>(from + at + 4);
          }
        });
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          x.values[i] = __uint_as_float(arriving.words[i]);
        }
      }
      const Octet weights = Octet::of<T>(weight);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        squares += x.values[i] * x.values[i];
        x.values[i] *= weights.values[i] * norm_scale_;
      }
      return x;
    });
    squares = sum_of_lanes(squares);
    if (thread_ % 32 == 0) {
      shared_.squares[norm_turn_][thread_ / 32] = squares;
    }
  }

  /// What is left to multiply a product's sums by; by all threads, after a barrier.
  __device__ float left_of_norm() {
    float squares = 0;
#pragma unroll
    for (const float one : shared_.squares[norm_turn_]) {
      squares += one;
    }
    const float scale = rsqrtf(squares / static_cast<float>(args_.sizes.hidden) + args_.epsilon);
    const float left = scale / norm_scale_;
    norm_scale_ = scale;
    norm_turn_ ^= 1;
    return left;
  }

  [[nodiscard]] __device__ int apart(DecoderProduct product) const {
    return stream_.sizes.pieces(product) * 4;
  }

  /// Multiplies the block's strips with the inputs. Each thread that has a pair of columns is given
  /// its number and its sums: `end(pair, sums, lanes)`, where `lanes` are those of its warp that
  /// are. Sums of normalized inputs are those of the norm.
  template <int kRows, bool kNormed, typename End>
  __device__ void multiply(DecoderProduct product, const End& end) {
    const Share strips = stream_.strips(product);
    const Share slice = stream_.slice(product);
    const int warp = thread_ / 32;
    const int lane = thread_ % 32;
    float scale = 1;
#pragma unroll 1
    for (int first = 0; first < strips.count; first += kGroupStrips) {
      const int count = strips.count - first < kGroupStrips ? strips.count - first : kGroupStrips;
      float2* const sums = shared_.sums[turn_];
#pragma unroll 1
      for (int strip = 0; strip < count; ++strip) {
        StripSums sum;
#pragma unroll 1
        for (int piece = slice.first; piece < slice.first + slice.count; ++piece) {
          const uint4 weight = weights_.next();
          sum.add<T>(weight, inputs_.template of_lane<kRows>(piece, apart(product)));
        }
        const float2 total = kRows == 2 ? sum.total() : sum.of_row();
        if (lane < kPairs) {
          sums[strip * kSumsOfStrip + warp * kPairs + lane] = total;
        }
      }
      __syncthreads();
      if (kNormed && first == 0) {
        scale = left_of_norm();
      }
      const bool ends = thread_ < count * kPairs;
      const unsigned lanes = __ballot_sync(kAllLanes, ends);
      if (ends) {
        const float2* from = sums + thread_ / kPairs * kSumsOfStrip + thread_ % kPairs;
        float2 total{0.0F, 0.0F};
#pragma unroll
        for (int i = 0; i < kDecoderWarps; ++i) {
          total.x += from[i * kPairs].x;
          total.y += from[i * kPairs].y;
        }
        end((strips.first + first) * kPairs + thread_, float2{total.x * scale, total.y * scale},
            lanes);
      }
      turn_ ^= 1;
    }
  }

  /// A pair of a product's biases; zeros where it has none.
  [[nodiscard]] __device__ float2 bias_of(DecoderProduct product, int pair) const {
    return args_.vector_layout.biases[static_cast<int>(product)]
               ? values_of<T>(load_pair(vectors_ + args_.vector_layout.bias(product), pair))
               : float2{0.0F, 0.0F};
  }

  __device__ void make_queries(int layer) {
    if (stream_.strips(kQkv).count == 0) {
      return;
    }
    load_residual(layer == 0 ? nullptr : words_ - exchange_.layer_words() + exchange_.after_layer(),
                  vectors_ + args_.vector_layout.norm(0));
    multiply<2, true>(kQkv, [&](int pair, float2 sum, unsigned /*lanes*/) {
      const float2 bias = bias_of(kQkv, pair);
      send(words_ + exchange_.qkv() + pair, pair_of<T>(sum.x + bias.x, sum.y + bias.y));
    });
  }

  __device__ void project() {
    if (stream_.strips(kProjection).count == 0) {
      return;
    }
    inputs_.fill(stream_.slice(kProjection), apart(kProjection), [&](int at, bool has) {
      return receive_attended<T, kHeadDim>(words_, exchange_, at, has);
    });
    multiply<2, false>(kProjection, [&](int pair, float2 sum, unsigned /*lanes*/) {
      add_to_residual(kProjection, pair, sum, exchange_.after_attention());
    });
  }

  __device__ void expand() {
    if (stream_.strips(kExpansion).count == 0) {
      return;
    }
    load_residual(words_ + exchange_.after_attention(), vectors_ + args_.vector_layout.norm(1));
    multiply<2, true>(kExpansion, [&](int pair, float2 sum, unsigned lanes) {
      const float2 bias = bias_of(kExpansion, pair);
      sum = {sum.x + bias.x, sum.y + bias.y};
      unsigned* const to = words_ + exchange_.expanded();
      if (args_.sizes.gated) {
        const float value = activated(args_.activation, sum.x) * sum.y;
        const float next = __shfl_down_sync(lanes, value, 1);
        if (pair % 2 == 0) {
          send(to + pair / 2, pair_of<T>(value, next));
        }
      } else {
        send(to + pair,
             pair_of<T>(activated(args_.activation, sum.x), activated(args_.activation, sum.y)));
      }
    });
  }

  __device__ void contract() {
    if (stream_.strips(kContraction).count == 0) {
      return;
    }
    const unsigned* const from = words_ + exchange_.expanded();
    inputs_.fill_rounded(stream_.slice(kContraction), [&](int at, bool has) {
      const auto arriving = receive<4>([&](Arriving<4>& to) {
        if (has) {
          to.template poll_four<0>(from + at / 2);
        }
      });
      return uint4{arriving.words[0], arriving.words[1], arriving.words[2], arriving.words[3]};
    });
    multiply<1, false>(kContraction, [&](int pair, float2 sum, unsigned /*lanes*/) {
      add_to_residual(kContraction, pair, sum, exchange_.after_layer());
    });
  }

  /// A block ends the same columns of both products, so the stream stays with their thread.
  __device__ void add_to_residual(DecoderProduct product, int pair, float2 sum, int to) {
    const float2 bias = bias_of(product, pair);
    residual_ = {residual_.x + (sum.x + bias.x), residual_.y + (sum.y + bias.y)};
    send(words_ + to + 2 * pair, residual_);
  }

  __device__ void finish() {
    load_residual(words_ + exchange_.after_layer(), args_.last_norm);
    TopLogit best{INT_MAX, -INFINITY};
    const auto take = [&](int token, float logit) {
      if (token < args_.sizes.vocab_size) {
        const T rounded = from_float<T>(logit);
        args_.logits[token] = rounded;
        const TopLogit candidate{token, to_float(rounded)};
        best = comes_before(candidate, best) ? candidate : best;
      }
    };
    multiply<2, true>(kHead, [&](int pair, float2 sum, unsigned /*lanes*/) {
      take(2 * pair, sum.x);
      take(2 * pair + 1, sum.y);
    });
    hand_over(best);
  }

  /// The best of all blocks to the host.
  __device__ void hand_over(TopLogit best) {
    best = best_of_lanes(best);
    if (thread_ % 32 == 0) {
      shared_.bests[thread_ / 32] = best;
    }
    __syncthreads();
    if (thread_ >= 32) {
      return;
    }
    const TopLogit none{INT_MAX, -INFINITY};
    best = best_of_lanes(thread_ < kDecoderWarps ? shared_.bests[thread_] : none);
    unsigned* const bests = args_.exchange + exchange_.bests();
    if (thread_ == 0) {
      send(bests + 2 * blockIdx.x, float2{__int_as_float(best.token), best.logit});
    }
    if (blockIdx.x > 0) {
      return;
    }
    best = none;
#pragma unroll 1
    for (int first = 0; first < static_cast<int>(gridDim.x); first += 32) {
      const int block = first + thread_;
      const bool exists = block < static_cast<int>(gridDim.x);
      const auto arriving = receive<2>([&](Arriving<2>& to) {
        if (exists) {
          to.template poll_two<0>(bests + 2 * block);
        }
      });
      const TopLogit other{static_cast<int>(arriving.words[0]), __uint_as_float(arriving.words[1])};
      best = exists && comes_before(other, best) ? other : best;
    }
    __syncwarp();
    best = best_of_lanes(best);
    if (thread_ == 0) {
      send_to_host(args_.best, static_cast<unsigned>(best.token), __float_as_uint(best.logit));
    }
  }

  static constexpr int kPairs = kStripColumns / 2;  // of columns of a strip

  const DecoderArgs<T>& args_;
  const DecoderExchange& exchange_;
  DecoderStatic& shared_;
  int thread_;
  DecoderStream stream_;
  DecoderWeights<T> weights_;
  DecoderInputRows<T> inputs_;
  DecoderAttention<T, kHeadDim> attention_;
  const T* token_ = nullptr;  // its row of the embedding
  bool exists_ = false;
  float2 residual_{0.0F, 0.0F};  // of the thread's pair of columns
  float norm_scale_ = 1;         // of the norm before
  int turn_ = 0;                 // of sums
  int norm_turn_ = 0;
  unsigned* words_ = nullptr;  // this layer's exchange
  const T* vectors_ = nullptr;
};

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kDecoderThreads, 1)
    fused_decoder_kernel(const __grid_constant__ DecoderKernelArgs<T> args) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ DecoderStatic shared;
  DecoderStep<T, kHeadDim>(args, dynamic, shared).run();
}

/// Calls `work` with the size of heads as a type, or returns `otherwise`.
template <typename Result, typename Work>
Result with_head_dim(int head_dim, Result otherwise, const Work& work) {
  switch (head_dim) {
    case 64:
      return work(std::integral_constant<int, 64>{});
    case 128:
      return work(std::integral_constant<int, 128>{});
    default:
      return otherwise;
  }
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

const char* why_no_decoder(const DecoderSizes& sizes, int multiprocessors) {
  if (!device_has_clusters()) {
    return "the GPU is older than sm_90";
  }
  if (!with_head_dim(sizes.head_dim, false, [](auto /*size*/) { return true; })) {
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
  return DecoderShared::of(sizes, shared_capacity<DecoderStatic>()).chunks == 0
             ? "the inputs of its products do not fit into the GPU's shared memory"
             : nullptr;
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
cudaError_t fused_decoder(const DecoderArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  const int capacity = shared_capacity<DecoderStatic>();
  const DecoderKernelArgs<T> of_kernel{
      args,
      DecoderShared::of(args.sizes, capacity),
      {args.sizes, splits_of_past(args.sizes, args.inputs.past_length, multiprocessors)}};
  return with_head_dim(args.sizes.head_dim, cudaErrorInvalidValue, [&](auto size) {
    const auto kernel = fused_decoder_kernel<T, decltype(size)::value>;
    static const cudaError_t more_shared =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, capacity);
    if (more_shared != cudaSuccess) {
      return more_shared;
    }
    const TogetherConfig of_step(multiprocessors, kDecoderThreads, 1, of_kernel.layout.bytes,
                                 stream);
    return cudaLaunchKernelEx(&of_step.config, kernel, of_kernel);
  });
}

template cudaError_t pack_decoder_weight(const DecoderSizes&, int, DecoderProduct, const __half*,
                                         const std::int64_t*, int, __half*, cudaStream_t);
template cudaError_t pack_decoder_weight(const DecoderSizes&, int, DecoderProduct,
                                         const __nv_bfloat16*, const std::int64_t*, int,
                                         __nv_bfloat16*, cudaStream_t);
template cudaError_t fused_decoder(const DecoderArgs<__half>&, int, cudaStream_t);
template cudaError_t fused_decoder(const DecoderArgs<__nv_bfloat16>&, int, cudaStream_t);

}  // namespace kvcache::kernels
