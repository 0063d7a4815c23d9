// A block's way through a step of a decoder, whatever its weights are.
#pragma once

#include <climits>
#include <type_traits>

#include "kernels/cuda/decoder_block.cuh"
#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/logit_order.cuh"

namespace kvcache::kernels {

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
///
/// What depends on the types of weights and cache is Self's: weights_, attention_, load_tokens(),
/// embedded_pair(), begin_layer(), fill_inputs(), begin_product(), columns_of(), multiply_strips()
/// and finish().
///
/// kTokens: of a step at most. Each has an exchange of its own, DecoderExchange::words from the
/// next one's. A thread ends columns of one token. kLayerNorm: norms are LayerNorm, not RMSNorm.
template <typename Self, typename Args, int kTokens, bool kLayerNorm = false>
class DecoderStep {
 public:
  /// By the warps that compute, when the block's work is known.
  __device__ void run() {
    start();
    product_ = kQkv;
#pragma unroll 1
    for (int layer = 0;;) {
      if (strips().count > 0) {
        self().fill_inputs();
        multiply();
      }
      if (product_ == kHead) {
        break;
      }
      if (product_ == kQkv && self().attention_.takes_part()) {
        self().attention_.run(layer, words_);
      }
      ++product_;
      if (product_ == kLayerProducts) {
        residual_at_ = words_ + exchange_.after_layer;
        words_ += exchange_.layer_words;
        self().begin_layer(++layer);
        product_ = layer < args_.sizes.layers ? kQkv : kHead;
      } else {
        residual_at_ = words_ + exchange_.after_attention;
      }
    }
    hand_over();
  }

 protected:
  static constexpr int kQkv = static_cast<int>(DecoderProduct::qkv);
  static constexpr int kProjection = static_cast<int>(DecoderProduct::projection);
  static constexpr int kExpansion = static_cast<int>(DecoderProduct::expansion);
  static constexpr int kContraction = static_cast<int>(DecoderProduct::contraction);
  static constexpr int kHead = static_cast<int>(DecoderProduct::head);
  static constexpr int kPairs = kStripColumns / 2;  // of columns of a strip

  __device__ DecoderStep(const DecoderKernelArgs<Args>& args, DecoderStaticOf<kTokens>& shared)
      : kernel_(args),
        args_(args.step),
        exchange_(args.exchange),
        shared_(shared),
        thread_(static_cast<int>(threadIdx.x)),
        token_(kTokens == 1 ? 0 : thread_ / 32),
        words_(args_.exchange) {
#pragma unroll
    for (float& scale : norm_scales_) {
      scale = 1;
    }
  }

  /// What of the product at hand is this block's, and of its inputs this warp's.
  [[nodiscard]] __device__ const Share& strips() const { return shared_.work.strips[product_]; }
  [[nodiscard]] __device__ const Share& slice() const {
    return shared_.work.slices[product_][thread_ / 32];
  }

  /// So many tokens the step has.
  [[nodiscard]] __device__ int count() const { return kTokens == 1 ? 1 : args_.inputs.count; }

  /// Where the exchange of the thread's token begins, in words behind the first one's.
  [[nodiscard]] __device__ int of_token() const {
    return kTokens == 1 ? 0 : token_ * exchange_.words;
  }

  /// Eight results of other blocks for each token, or zeros.
  __device__ void receive_from(const unsigned* from, bool has, Octet (&x)[kTokens]) const {
    const auto arriving = receive_paced<8 * kTokens>([&](Arriving<8 * kTokens>& to) {
      for_tokens<kTokens>([&](auto token) {
        constexpr int kFirst = 8 * decltype(token)::value;
        if (has && (kTokens == 1 || token < count())) {
          to.template poll_four<kFirst>(from + token * exchange_.words);
          to.template poll_four<kFirst + 4>(from + token * exchange_.words + 4);
        }
      });
    });
#pragma unroll
    for (int i = 0; i < 8 * kTokens; ++i) {
      x[i / 8].values[i % 8] = __uint_as_float(arriving.words[i]);
    }
  }

  /// Of the inputs of a norm that the lane has seen: their squares, and of LayerNorm, whose inputs
  /// come without norm_means_, their sums.
  __device__ void keep_squares(const float (&squares)[kTokens]) const {
    keep(squares, shared_.squares[norm_turn_]);
  }
  __device__ void keep_sums(const float (&sums)[kTokens]) const {
    keep(sums, shared_.input_sums[norm_turn_]);
  }

  /// What is left to do with a product's sums of the thread's token; by all threads, after a
  /// barrier.
  __device__ LeftOfNorm left_of_norm() {
    LeftOfNorm left;
    const auto hidden = static_cast<float>(args_.sizes.hidden);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      float variance = sum_of_warps(shared_.squares[norm_turn_][t]) / hidden;
      float mean = 0;
      if constexpr (kLayerNorm) {
        mean = sum_of_warps(shared_.input_sums[norm_turn_][t]) / hidden;
        variance -= mean * mean;
        variance = variance < 0 ? 0 : variance;
        norm_means_[t] += mean;
      }
      const float scale = rsqrtf(variance + args_.epsilon);
      if (t == token_) {
        left = {__fdividef(scale, norm_scales_[t]), scale * mean};
      }
      norm_scales_[t] = scale;
    }
    norm_turn_ ^= 1;
    return left;
  }

  /// Of a pair of columns whose sum adds to the residual stream. A block ends the same columns of
  /// both such products, so the stream stays with their thread.
  __device__ void add_to_residual(int pair, float2 sum) {
    residual_ = {residual_.x + sum.x, residual_.y + sum.y};
    const int to = product_ == kProjection ? exchange_.after_attention : exchange_.after_layer;
    send(words_ + of_token() + to + 2 * pair, residual_);
  }

  /// A logit behind the thread's token, to each row of logits that it has.
  __device__ void take(int token, float logit) {
    if (token >= args_.sizes.vocab_size) {
      return;
    }
    using Logit = std::remove_pointer_t<decltype(args_.logits)>;
    const Logit rounded = from_float<Logit>(logit);
    if constexpr (kTokens == 1) {
      args_.logits[token] = rounded;
    } else {
      for (unsigned rows = args_.inputs.tokens[token_].logits_rows; rows != 0; rows &= rows - 1) {
        const std::int64_t row = __ffs(static_cast<int>(rows)) - 1;
        args_.logits[row * args_.sizes.vocab_size + token] = rounded;
      }
    }
    const TopLogit candidate{token, to_float(rounded)};
    best_ = comes_before(candidate, best_) ? candidate : best_;
  }

  const DecoderKernelArgs<Args>& kernel_;
  const Args& args_;
  const DecoderExchange& exchange_;
  DecoderStaticOf<kTokens>& shared_;
  int thread_;
  int token_;                              // whose columns the thread ends
  int product_ = kQkv;                     // at hand
  const unsigned* residual_at_ = nullptr;  // in the exchange; null: the embedding
  float2 residual_{0.0F, 0.0F};            // of the thread's pair of columns
  float norm_scales_[kTokens];             // of the norm before, a token's each
  float norm_means_[kTokens] = {};         // the same of LayerNorm
  unsigned* words_;                        // this layer's exchange

 private:
  [[nodiscard]] __device__ Self& self() { return static_cast<Self&>(*this); }

  __device__ void keep(const float (&of_lane)[kTokens], float (&to)[kTokens][kDecoderWarps]) const {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float sum = sum_of_lanes(of_lane[t]);
      if (thread_ % 32 == 0) {
        to[t][thread_ / 32] = sum;
      }
    }
  }

  __device__ static float sum_of_warps(const float (&of_warps)[kDecoderWarps]) {
    float sum = 0;
#pragma unroll
    for (const float one : of_warps) {
      sum += one;
    }
    return sum;
  }

  __device__ void start() {
    self().weights_.begin();
    if (self().attention_.takes_part()) {
      self().attention_.load_angles();
      self().attention_.fetch(0);
    }
    self().load_tokens();
    clear();
    sync_decoder_warps();
    const Share& own = shared_.work.strips[kContraction];
    if (ends(own.count)) {
      residual_ = self().embedded_pair(own.first * kPairs + pair_of_thread());
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

  /// Multiplies the block's strips with the inputs, and hands over what comes of them.
  __device__ void multiply() {
    const Share own = strips();
    const bool normed = product_ != kProjection && product_ != kContraction;
    self().begin_product();
    LeftOfNorm left;
#pragma unroll 1
    for (int first = 0; first < own.count; first += kStrips) {
      const int strips = own.count - first < kStrips ? own.count - first : kStrips;
      const int pair = (own.first + first) * kPairs + pair_of_thread();
      const bool has_pair = ends(strips);
      // On its way while the sums come to be.
      const ColumnPair columns = has_pair ? self().columns_of(pair) : ColumnPair{};
      float2* const sums = shared_.sums[turn_];
      self().multiply_strips(strips, sums + thread_ / 32 * kPairs * kTokens);
      sync_decoder_warps();
      if (normed && first == 0) {
        left = left_of_norm();
      }
      const unsigned lanes = __ballot_sync(kAllLanes, has_pair);
      if (has_pair) {
        const float2* from = sums + pair_of_thread() / kPairs * kSumsOfStripOf<kTokens> +
                             token_ * kPairs + pair_of_thread() % kPairs;
        float2 total{0.0F, 0.0F};
#pragma unroll
        for (int i = 0; i < kDecoderWarps; ++i) {
          total.x += from[i * kPairs * kTokens].x;
          total.y += from[i * kPairs * kTokens].y;
        }
        self().finish(pair, left.of(total, columns), lanes);
      }
      turn_ ^= 1;
    }
  }

  /// The thread's pair of a group's columns, and whether it ends one of so many strips.
  [[nodiscard]] __device__ int pair_of_thread() const {
    return kTokens == 1 ? thread_ : thread_ % 32;
  }
  [[nodiscard]] __device__ bool ends(int strips) const {
    return token_ < count() && pair_of_thread() < strips * kPairs;
  }

  /// The block's best token of each row of logits to all blocks.
  __device__ void send_bests(unsigned* bests) {
    TopLogit best = best_of_lanes(best_);
    if constexpr (kTokens == 1) {
      const TopLogit none{INT_MAX, -INFINITY};
      if (thread_ % 32 == 0) {
        shared_.bests[thread_ / 32] = best;
      }
      sync_decoder_warps();
      best = best_of_lanes(thread_ < kDecoderWarps ? shared_.bests[thread_] : none);
    }
    if (thread_ % 32 == 0 && (kTokens == 1 ? thread_ == 0 : token_ < count())) {
      send(bests + of_token(), float2{__int_as_float(best.token), best.logit});
    }
  }

  /// The best of all blocks to the host: of token t by block t.
  __device__ void hand_over() {
    const auto block = static_cast<int>(blockIdx.x);
    unsigned* const bests = args_.exchange + exchange_.bests;
    send_bests(bests + 2 * block);
    if (thread_ >= 32 || block >= count()) {
      return;
    }
    TopLogit best_of_all{INT_MAX, -INFINITY};
#pragma unroll 1
    for (int first = 0; first < static_cast<int>(gridDim.x); first += 32) {
      const int from = first + thread_;
      const bool exists = from < static_cast<int>(gridDim.x);
      const auto arriving = receive<2>([&](Arriving<2>& to) {
        if (exists) {
          to.template poll_two<0>(bests + block * exchange_.words + 2 * from);
        }
      });
      const TopLogit other{static_cast<int>(arriving.words[0]), __uint_as_float(arriving.words[1])};
      best_of_all = exists && comes_before(other, best_of_all) ? other : best_of_all;
    }
    __syncwarp();
    best_of_all = best_of_lanes(best_of_all);
    if (thread_ == 0) {
      unsigned rows = kTokens == 1 ? 1U : args_.inputs.tokens[block].logits_rows;
      for (; rows != 0; rows &= rows - 1) {
        send_to_host(args_.best + __ffs(static_cast<int>(rows)) - 1,
                     static_cast<unsigned>(best_of_all.token), __float_as_uint(best_of_all.logit));
      }
    }
  }

  static constexpr int kStrips = kGroupStripsOf<kTokens>;  // that are ended together
  int turn_ = 0;                                           // of sums
  int norm_turn_ = 0;
  TopLogit best_{INT_MAX, -INFINITY};
};

/// The most tokens of a step, up to kMost, for which there are blocks and, of chunks_of(tokens)
/// that a warp's ring has in shared memory, enough: weights are not to wait for warps. 1, 2 or 4.
template <int kMost, typename ChunksOf>
int most_tokens_of_decoder(const DecoderSizes& sizes, int multiprocessors,
                           const ChunksOf& chunks_of) {
  constexpr int kFewestChunks = 2;
  const auto fits = [&](auto tokens) {
    constexpr int kTokens = decltype(tokens)::value;
    return kTokens * sizes.kv_heads <= multiprocessors &&
           sizes.strips(DecoderProduct::contraction) <= kGroupStripsOf<kTokens> * multiprocessors &&
           chunks_of(tokens) >= kFewestChunks;
  };
  if constexpr (kMost >= 4) {
    if (fits(std::integral_constant<int, 4>{})) {
      return 4;
    }
  }
  return fits(std::integral_constant<int, 2>{}) ? 2 : 1;
}

/// Calls `work` with the capacity of a step, 1, 2 or 4 but at most kMost, as a type.
template <int kMost, typename Work>
cudaError_t with_decoder_tokens(int capacity, const Work& work) {
  if constexpr (kMost >= 4) {
    if (capacity == 4) {
      return work(std::integral_constant<int, 4>{});
    }
  }
  return capacity == 2   ? work(std::integral_constant<int, 2>{})
         : capacity == 1 ? work(std::integral_constant<int, 1>{})
                         : cudaErrorInvalidValue;
}

/// Calls `work` with the size of heads as a type, or returns `otherwise`.
template <typename Result, typename Work>
Result with_decoder_head_dim(int head_dim, Result otherwise, const Work& work) {
  switch (head_dim) {
    case 64:
      return work(std::integral_constant<int, 64>{});
    case 128:
      return work(std::integral_constant<int, 128>{});
    default:
      return otherwise;
  }
}

}  // namespace kvcache::kernels
