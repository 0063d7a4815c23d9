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
/// What depends on the types of weights and cache is Self's: weights_, attention_, load_token(),
/// embedded_pair(), begin_layer(), fill_inputs(), begin_product(), multiply_strips() and finish().
template <typename Self, typename Args>
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
    hand_over(best_);
  }

 protected:
  static constexpr int kQkv = static_cast<int>(DecoderProduct::qkv);
  static constexpr int kProjection = static_cast<int>(DecoderProduct::projection);
  static constexpr int kExpansion = static_cast<int>(DecoderProduct::expansion);
  static constexpr int kContraction = static_cast<int>(DecoderProduct::contraction);
  static constexpr int kHead = static_cast<int>(DecoderProduct::head);
  static constexpr int kPairs = kStripColumns / 2;  // of columns of a strip

  __device__ DecoderStep(const DecoderKernelArgs<Args>& args, DecoderStatic& shared)
      : kernel_(args),
        args_(args.step),
        exchange_(args.exchange),
        shared_(shared),
        thread_(static_cast<int>(threadIdx.x)),
        words_(args_.exchange) {}

  /// What of the product at hand is this block's, and of its inputs this warp's.
  [[nodiscard]] __device__ const Share& strips() const { return shared_.work.strips[product_]; }
  [[nodiscard]] __device__ const Share& slice() const {
    return shared_.work.slices[product_][thread_ / 32];
  }

  /// Eight results of other blocks, or zeros.
  [[nodiscard]] __device__ static Octet received_from(const unsigned* from, bool has) {
    const auto arriving = receive_paced<8>([&](Arriving<8>& to) {
      if (has) {
        to.template poll_four<0>(from);
        to.template poll_four<4>(from + 4);
      }
    });
    Octet x;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x.values[i] = __uint_as_float(arriving.words[i]);
    }
    return x;
  }

  /// Of the inputs of a norm that the lane has seen.
  __device__ void keep_squares(float squares) const {
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
    const float left = __fdividef(scale, norm_scale_);
    norm_scale_ = scale;
    norm_turn_ ^= 1;
    return left;
  }

  /// Of a pair of columns whose sum adds to the residual stream. A block ends the same columns of
  /// both such products, so the stream stays with their thread.
  __device__ void add_to_residual(int pair, float2 sum) {
    residual_ = {residual_.x + sum.x, residual_.y + sum.y};
    const int to = product_ == kProjection ? exchange_.after_attention : exchange_.after_layer;
    send(words_ + to + 2 * pair, residual_);
  }

  __device__ void take(int token, float logit) {
    const TopLogit candidate{token, logit};
    best_ = comes_before(candidate, best_) ? candidate : best_;
  }

  const DecoderKernelArgs<Args>& kernel_;
  const Args& args_;
  const DecoderExchange& exchange_;
  DecoderStatic& shared_;
  int thread_;
  int product_ = kQkv;                     // at hand
  const unsigned* residual_at_ = nullptr;  // in the exchange; null: the embedding
  float2 residual_{0.0F, 0.0F};            // of the thread's pair of columns
  float norm_scale_ = 1;                   // of the norm before
  unsigned* words_;                        // this layer's exchange

 private:
  [[nodiscard]] __device__ Self& self() { return static_cast<Self&>(*this); }

  __device__ void start() {
    self().weights_.begin();
    if (self().attention_.takes_part()) {
      self().attention_.load_angles();
      self().attention_.fetch(0);
    }
    self().load_token();
    clear();
    sync_decoder_warps();
    const Share& own = shared_.work.strips[kContraction];
    if (thread_ < own.count * kPairs) {
      residual_ = self().embedded_pair(own.first * kPairs + thread_);
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
    float scale = 1;
#pragma unroll 1
    for (int first = 0; first < own.count; first += kGroupStrips) {
      const int count = own.count - first < kGroupStrips ? own.count - first : kGroupStrips;
      float2* const sums = shared_.sums[turn_];
      self().multiply_strips(count, sums + thread_ / 32 * kPairs);
      sync_decoder_warps();
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
        self().finish((own.first + first) * kPairs + thread_, {total.x * scale, total.y * scale},
                      lanes);
      }
      turn_ ^= 1;
    }
  }

  /// The best of all blocks to the host.
  __device__ void hand_over(TopLogit best) {
    best = best_of_lanes(best);
    if (thread_ % 32 == 0) {
      shared_.bests[thread_ / 32] = best;
    }
    sync_decoder_warps();
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

  int turn_ = 0;  // of sums
  int norm_turn_ = 0;
  TopLogit best_{INT_MAX, -INFINITY};
};

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
