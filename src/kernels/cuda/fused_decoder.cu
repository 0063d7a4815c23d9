#include <climits>
#include <type_traits>

#include "kernels/cuda/decoder_attention.cuh"
#include "kernels/cuda/fused_decoder.hpp"
#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/logit_order.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

/// x / (1 + exp(-(linear · x + cubic · x³))): silu, and the tanh approximation of gelu (Hendrycks
/// and Gimpel, arXiv:1606.08415) by way of (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)).
struct SigmoidGate {
  float linear;  // in powers of 2
  float cubic;

  __device__ explicit SigmoidGate(Activation activation)
      : linear(activation == Activation::silu ? 1.4426950408889634F : 2.302208198F),
        cubic(activation == Activation::silu ? 0.0F : 2.302208198F * 0.044715F) {}

  [[nodiscard]] __device__ float of(float x) const {
    return __fdividef(x, 1.0F + exp2_of(-x * (linear + cubic * x * x)));
  }
};

/// One block's way through the step. There is one copy of each phase's code for all products: a
/// step goes through it once a layer, so instructions come from as far away as data.
template <typename T, int kHeadDim>
class DecoderStep {
 public:
  __device__ DecoderStep(const DecoderKernelArgs<T>& args, unsigned char* dynamic,
                         DecoderStatic& shared)
      : kernel_(args),
        args_(args.step),
        exchange_(args.exchange),
        shared_(shared),
        thread_(static_cast<int>(threadIdx.x)),
        weights_(args, dynamic, shared),
        inputs_(dynamic + args.layout.inputs_at),
        attention_(args, dynamic + args.layout.inputs_at, shared),
        words_(args_.exchange),
        vectors_(args_.vectors) {}

  __device__ void run() {
    start();
    product_ = kQkv;
#pragma unroll 1
    for (int layer = 0;;) {
      if (strips().count > 0) {
        fill_inputs();
        multiply();
      }
      if (product_ == kHead) {
        break;
      }
      if (product_ == kQkv && attention_.takes_part()) {
        attention_.run(layer, words_);
      }
      ++product_;
      if (product_ == kLayerProducts) {
        residual_at_ = words_ + exchange_.after_layer;
        words_ += exchange_.layer_words;
        vectors_ += args_.vector_layout.elements;
        product_ = ++layer < args_.sizes.layers ? kQkv : kHead;
      } else {
        residual_at_ = words_ + exchange_.after_attention;
      }
    }
    hand_over(best_);
  }

 private:
  static constexpr int kQkv = static_cast<int>(DecoderProduct::qkv);
  static constexpr int kProjection = static_cast<int>(DecoderProduct::projection);
  static constexpr int kExpansion = static_cast<int>(DecoderProduct::expansion);
  static constexpr int kContraction = static_cast<int>(DecoderProduct::contraction);
  static constexpr int kHead = static_cast<int>(DecoderProduct::head);
  static constexpr int kPairs = kStripColumns / 2;  // of columns of a strip

  __device__ void start() {
    weights_.begin();
    shared_.zero = {0, 0, 0, 0};
    shared_.work.fill(kernel_);
    if (attention_.takes_part()) {
      attention_.load_angles();
      attention_.fetch(0);
    }
    const std::int64_t id = args_.inputs.input_id;
    exists_ = id >= 0 && id < args_.sizes.vocab_size;
    token_ = args_.token_weight + (exists_ ? id : 0) * args_.sizes.hidden;
    clear();
    __syncthreads();
    const Share& own = shared_.work.strips[kContraction];
    if (thread_ < own.count * kPairs) {
      residual_ = embedded(load_pair(token_, own.first * kPairs + thread_));
    }
  }

  __device__ void clear() const {
    auto* const to = reinterpret_cast<uint4*>(args_.other_exchange);
#pragma unroll 1
    for (int i = static_cast<int>(blockIdx.x) * kDecoderThreads + thread_;
         i < args_.other_words / 4; i += static_cast<int>(gridDim.x) * kDecoderThreads) {
      to[i] = {kNotYet, kNotYet, kNotYet, kNotYet};
    }
  }

  /// What of the product at hand is this block's, and of its inputs this warp's.
  [[nodiscard]] __device__ const Share& strips() const { return shared_.work.strips[product_]; }
  [[nodiscard]] __device__ const Share& slice() const {
    return shared_.work.slices[product_][thread_ / 32];
  }

  [[nodiscard]] __device__ float2 embedded(unsigned pair) const {
    const float2 value = values_of<T>(pair);
    return exists_ ? float2{value.x * args_.embedding_scale, value.y * args_.embedding_scale}
                   : float2{nanf(""), nanf("")};
  }

  __device__ void fill_inputs() {
    if (product_ == kProjection) {
      inputs_.fill(slice(), [&](int at, bool has) {
        return InputPairs::of<T>(receive_attended<T, kHeadDim>(words_, exchange_, at, has));
      });
    } else if (product_ == kContraction) {
      const unsigned* const from = words_ + exchange_.expanded;
      inputs_.fill(slice(), [&](int at, bool has) {
        const auto arriving = receive_paced<4>([&](Arriving<4>& to) {
          if (has) {
            to.template poll_four<0>(from + at / 2);
          }
        });
        const auto& words = arriving.words;
        return InputPairs{{words[0], words[1], words[2], words[3]}, {}};
      });
    } else {
      fill_from_residual(product_ == kHead ? args_.last_norm
                                           : vectors_ + args_.vector_layout.norms[product_ / 2]);
    }
  }

  /// The residual stream times a norm's weight. What the norm divides by is not known before all
  /// warps have come to the product's end (left_of_norm()); until then that of the norm before is
  /// near enough for 16 bits not to overflow.
  __device__ void fill_from_residual(const T* norm) {
    float squares = 0;
    inputs_.fill(slice(), [&](int at, bool has) {
      const uint4 none{0, 0, 0, 0};
      const uint4 weight = has ? __ldg(reinterpret_cast<const uint4*>(norm + at)) : none;
      Octet x = residual_at_ == nullptr ? embedded(at, has) : received(at, has);
      const Octet weights = Octet::of<T>(weight);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        squares += x.values[i] * x.values[i];
        x.values[i] *= weights.values[i] * norm_scale_;
      }
      return InputPairs::of<T>(x);
    });
    squares = sum_of_lanes(squares);
    if (thread_ % 32 == 0) {
      shared_.squares[norm_turn_][thread_ / 32] = squares;
    }
  }

  __device__ Octet embedded(int at, bool has) const {
    Octet x = {};
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
    return x;
  }

  __device__ Octet received(int at, bool has) const {
    const auto arriving = receive_paced<8>([&](Arriving<8>& to) {
      if (has) {
        to.template poll_four<0>(residual_at_ + at);
        to.template poll_four<4>(residual_at_ + at + 4);
      }
    });
    Octet x;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x.values[i] = __uint_as_float(arriving.words[i]);
    }
    return x;
  }

  /// What is left to multiply a product's sums by; by all threads, after a barrier.
  __device__ float left_of_norm() {
    float squares = 0;
#pragma unroll
    for (const float one : shared_.squares[norm_turn_]) {
      squares += one;
    }
    const float scale = rsqrtf(squares / static_cast<float>(args_.sizes.hidden) + args_.epsilon);
    const float left = __fdividef(scale, norm_scale_);
    norm_scale_ = scale;
    norm_turn_ ^= 1;
    return left;
  }

  /// Multiplies the block's strips with the inputs, and hands over what comes of them.
  __device__ void multiply() {
    const Share own = strips();
    const bool normed = product_ != kProjection && product_ != kContraction;
    const int warp = thread_ / 32;
    const int lane = thread_ % 32;
    const int pieces = slice().count;
    const bool has_inputs = lane < 4;
    const uint4* const inputs = has_inputs ? inputs_.of_lane(slice().first) : &shared_.zero;
    const int apart = has_inputs ? kRowVectors : 0;
    float scale = 1;
#pragma unroll 1
    for (int first = 0; first < own.count; first += kGroupStrips) {
      const int count = own.count - first < kGroupStrips ? own.count - first : kGroupStrips;
      float2* const sums = shared_.sums[turn_];
#pragma unroll 1
      for (int strip = 0; strip < count; ++strip) {
        const float2 total = multiply_strip(inputs, apart, pieces);
        if (lane < kPairs) {
          sums[strip * kSumsOfStrip + warp * kPairs + lane] = total;
        }
      }
      __syncthreads();
      if (normed && first == 0) {
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
        end((own.first + first) * kPairs + thread_, {total.x * scale, total.y * scale}, lanes);
      }
      turn_ ^= 1;
    }
  }

  /// The warp's sums of the next strip, in lanes 0 … 3: those have inputs, the others zeros.
  __device__ float2 multiply_strip(const uint4* inputs, int apart, int pieces) {
    PieceSums sums;
#pragma unroll 1
    while (pieces > 0) {
      const int count = weights_.wait(pieces);
      const uint4* const weights = weights_.first();
#pragma unroll 4
      for (int i = 0; i < count; ++i) {
        sums.add<T>(weights[i * kPieceVectors], inputs[0], inputs[apart / 2]);
        inputs += apart;
      }
      weights_.advance(count);
      pieces -= count;
    }
    return sums.total();
  }

  /// A pair of columns of the product, by the thread that has their sums; `lanes` of its warp have
  /// one.
  __device__ void end(int pair, float2 sum, unsigned lanes) {
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
      send(words_ + pair, pair_of<T>(sum.x, sum.y));
    } else if (product_ == kExpansion) {
      expanded(pair, sum, lanes);
    } else {
      // A block ends the same columns of both products, so the stream stays with their thread.
      residual_ = {residual_.x + sum.x, residual_.y + sum.y};
      const int to = product_ == kProjection ? exchange_.after_attention : exchange_.after_layer;
      send(words_ + to + 2 * pair, residual_);
    }
  }

  __device__ void expanded(int pair, float2 sum, unsigned lanes) const {
    const SigmoidGate gate(args_.activation);
    unsigned* const to = words_ + exchange_.expanded;
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
      args_.logits[token] = rounded;
      const TopLogit candidate{token, to_float(rounded)};
      best_ = comes_before(candidate, best_) ? candidate : best_;
    }
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
    unsigned* const bests = args_.exchange + exchange_.bests;
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

  const DecoderKernelArgs<T>& kernel_;
  const DecoderArgs<T>& args_;
  const DecoderExchange& exchange_;
  DecoderStatic& shared_;
  int thread_;
  DecoderWeights<T> weights_;
  DecoderInputRows<T> inputs_;
  DecoderAttention<T, kHeadDim> attention_;
  int product_ = kQkv;        // at hand
  const T* token_ = nullptr;  // its row of the embedding
  bool exists_ = false;
  const unsigned* residual_at_ = nullptr;  // in the exchange; null: the embedding
  float2 residual_{0.0F, 0.0F};            // of the thread's pair of columns
  float norm_scale_ = 1;                   // of the norm before
  int turn_ = 0;                           // of sums
  int norm_turn_ = 0;
  unsigned* words_;  // this layer's exchange
  const T* vectors_;
  TopLogit best_{INT_MAX, -INFINITY};
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
cudaError_t fused_decoder(const DecoderArgs<T>& args, const DecoderExchange& exchange,
                          int multiprocessors, cudaStream_t stream) {
  const int capacity = shared_capacity<DecoderStatic>();
  const DecoderKernelArgs<T> of_kernel(args, DecoderShared::of(args.sizes, capacity), exchange);
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
template cudaError_t fused_decoder(const DecoderArgs<__half>&, const DecoderExchange&, int,
                                   cudaStream_t);
template cudaError_t fused_decoder(const DecoderArgs<__nv_bfloat16>&, const DecoderExchange&, int,
                                   cudaStream_t);

}  // namespace kvcache::kernels
