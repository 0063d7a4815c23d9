#include <climits>
#include <type_traits>
#include <utility>

#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/fused_layers.cuh"
#include "kernels/cuda/fused_step.hpp"
#include "kernels/cuda/fused_tokens.cuh"
#include "kernels/cuda/fused_tokens_attention.cuh"

namespace kvcache::kernels {
namespace {

/// What the launch works out once for all blocks.
template <typename T>
struct TokensKernelArgs {
  FusedStepArgs<T> step;
  FusedTokensInputs inputs;
  FusedSharedLayout layout;
  int kept_head_strips;  // of a block, in the second-level cache
};

/// One block's way through the step.
template <typename T, typename Shape>
class FusedTokens : public FusedLayers<FusedTokens<T, Shape>, T, Shape, TokensAttention<T, Shape>> {
  using Base = FusedLayers<FusedTokens, T, Shape, TokensAttention<T, Shape>>;
  friend Base;
  using Base::args_;
  using Base::attention_;
  using Base::before_;
  using Base::exchange_;
  using Base::head_;
  using Base::own_copy_;
  using Base::shared_;
  using Base::weights_;

 public:
  __device__ FusedTokens(const TokensKernelArgs<T>& args, unsigned char* dynamic,
                         FusedShared& shared)
      : Base(args.step, args.layout, dynamic, args.kept_head_strips, shared, args.inputs,
             static_cast<int>(blockIdx.x)),
        inputs_(args.inputs),
        high_(reinterpret_cast<uint4*>(dynamic + args.layout.high_at)),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32) {}

 private:
  static constexpr int kPerLane = 4 * Shape::kVectors;  // elements of a token that a lane has

  __device__ void start() {
    this->load_vectors();
    embed();
    this->begin_loads();
    this->clear_other_exchange(Shape::kTokens);
    __syncthreads();
  }

  /// The token of whose residual stream this warp has a part, if there is one.
  [[nodiscard]] __device__ int stream() const { return warp_ / Shape::kWarpsOfToken; }
  [[nodiscard]] __device__ bool has_stream() const { return stream() < inputs_.count; }

  /// Where the lane's `i`-th vector of 4 elements lies in the stream, in such vectors.
  [[nodiscard]] __device__ int vector_at(int i) const {
    return (warp_ % Shape::kWarpsOfToken * Shape::kVectors + i) * 32 + lane_;
  }

  /// Whether a token's embedding is in the tables.
  [[nodiscard]] __device__ bool exists(const FusedToken& token) const {
    return token.id >= 0 && token.id < args_.sizes.vocab_size && token.position >= 0 &&
           token.position < args_.sizes.max_seq_len;
  }

  /// Two neighbouring elements of a token's embedding.
  [[nodiscard]] __device__ float2 embedded_pair(const FusedToken& token, int pair) const {
    if (!exists(token)) {
      return {nanf(""), nanf("")};
    }
    const float2 a = values_of<T>(load_pair(args_.token_weight + token.id * Shape::kHidden, pair));
    const float2 b =
        values_of<T>(load_pair(args_.position_weight + token.position * Shape::kHidden, pair));
    return {a.x + b.x, a.y + b.y};
  }

  __device__ void embed() {
    if (!has_stream()) {
      return;
    }
    const FusedToken& token = inputs_.tokens[stream()];
    origin_ = embedded_pair(token, 0).x;
#pragma unroll
    for (int i = 0; i < Shape::kVectors; ++i) {
      const float2 a = embedded_pair(token, 2 * vector_at(i));
      const float2 b = embedded_pair(token, 2 * vector_at(i) + 1);
      x_[4 * i] = a.x;
      x_[4 * i + 1] = a.y;
      x_[4 * i + 2] = b.x;
      x_[4 * i + 3] = b.y;
    }
  }

  /// Each token's, by a warp. The first one polls alone until its words are there.
  __device__ void receive_residual(const unsigned* from) {
    const auto poll = [&](Arriving<kPerLane>& to) {
      poll_each<Shape::kVectors>([&](auto i) {
        constexpr int kVector = decltype(i)::value;
        to.template poll_four<4 * kVector>(from + stream() * Shape::kHidden +
                                           4 * vector_at(kVector));
      });
    };
    Arriving<kPerLane> arriving;
    if (warp_ == 0) {
      pause(kCyclesOnTheWay);
      arriving = receive<kPerLane>(poll);
    }
    __syncthreads();
    if (warp_ > 0 && has_stream()) {
      arriving = receive<kPerLane>(poll);
    }
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      x_[i] = __uint_as_float(arriving.words[i]);
    }
  }

  /// A norm's weight and bias on their way.
  __device__ void load_norm(int number) {
    if (!has_stream()) {
      return;
    }
    const auto norm = this->norm(number);
#pragma unroll
    for (int i = 0; i < Shape::kVectors; ++i) {
      norm_weight_[i] = __ldg(reinterpret_cast<const uint2*>(norm.weight) + vector_at(i));
      norm_bias_[i] = __ldg(reinterpret_cast<const uint2*>(norm.bias) + vector_at(i));
    }
  }

  /// Layer norm of the residual streams to the products' inputs, after which the norm `next` is on
  /// its way. Moments are about the mean of the norm before, near enough to lose nothing to
  /// cancellation.
  __device__ void normalize(int next) {
    float2 moment{0.0F, 0.0F};
    if (has_stream()) {
#pragma unroll
      for (const float x : x_) {
        const float from_origin = x - origin_;
        moment.x += from_origin;
        moment.y += from_origin * from_origin;
      }
      moment = {sum_of_lanes(moment.x), sum_of_lanes(moment.y)};
    }
    if constexpr (Shape::kWarpsOfToken > 1) {
      if (lane_ == 0) {
        shared_.moments[warp_] = moment;
      }
      __syncthreads();
    }
    if (has_stream()) {
      if constexpr (Shape::kWarpsOfToken > 1) {
        moment = {0.0F, 0.0F};
#pragma unroll
        for (int i = 0; i < Shape::kWarpsOfToken; ++i) {
          const float2 one = shared_.moments[stream() * Shape::kWarpsOfToken + i];
          moment.x += one.x;
          moment.y += one.y;
        }
      }
      constexpr float kInverse = 1.0F / Shape::kHidden;
      const float from_origin = moment.x * kInverse;
      const float variance = moment.y * kInverse - from_origin * from_origin;
      const float scale = rsqrtf(variance + args_.last_norm.epsilon);
      origin_ += from_origin;
      auto* high = reinterpret_cast<uint2*>(high_ + stream() * Shape::kRow);
      auto* low = reinterpret_cast<uint2*>(high_ + Shape::kRows + stream() * Shape::kRow);
#pragma unroll
      for (int i = 0; i < Shape::kVectors; ++i) {
        const auto normalized = [&](int first, unsigned weight, unsigned bias) {
          const float2 w = values_of<T>(weight);
          const float2 b = values_of<T>(bias);
          return float2{(x_[4 * i + first] - origin_) * scale * w.x + b.x,
                        (x_[4 * i + first + 1] - origin_) * scale * w.y + b.y};
        };
        const float2 first = normalized(0, norm_weight_[i].x, norm_bias_[i].x);
        const float2 second = normalized(2, norm_weight_[i].y, norm_bias_[i].y);
        const uint2 rounded{pair_of<T>(first.x, first.y), pair_of<T>(second.x, second.y)};
        high[vector_at(i)] = rounded;
        low[vector_at(i)] = {rest_of(first, rounded.x), rest_of(second, rounded.y)};
      }
      if (next <= 2 * args_.sizes.layers) {
        load_norm(next);
      }
    }
    __syncthreads();
  }

  /// What was lost when a pair was rounded.
  __device__ static unsigned rest_of(float2 value, unsigned rounded) {
    const float2 kept = values_of<T>(rounded);
    return pair_of<T>(value.x - kept.x, value.y - kept.y);
  }

  /// The token whose sums this thread ends, and the pair of columns.
  [[nodiscard]] __device__ int own_token() const { return lane_ / 4; }
  template <LayerWeight kWeight>
  [[nodiscard]] __device__ int own_pair() const {
    return weights_.template share<kWeight>().first * (kStripColumns / 2) +
           warp_ * (kStripColumns / 2) + lane_ % 4;
  }
  [[nodiscard]] __device__ bool ends_sums() const { return own_token() < inputs_.count; }

  template <LayerWeight kWeight>
  [[nodiscard]] __device__ unsigned load_bias(int layer) const {
    return warp_ < weights_.template share<kWeight>().count
               ? load_pair(this->vectors_of(layer) + Shape::vectors().bias(kWeight),
                           own_pair<kWeight>())
               : 0;
  }

  /// Normalized inputs, results as pairs.
  template <LayerWeight kWeight>
  __device__ void multiply_normalized(int layer) {
    if (weights_.template share<kWeight>().count > 0) {
      const unsigned bias = this->template next_bias<kWeight>(layer);
      weights_.template wait<kWeight>(layer);
      multiply_tokens<T, Shape>(
          weights_.template strips<kWeight>(), weights_.template share<kWeight>().count, high_,
          shared_, [&](float2 sum) {
            if (!ends_sums()) {
              return;
            }
            const float2 biases = values_of<T>(bias);
            sum = {sum.x + biases.x, sum.y + biases.y};
            if constexpr (kWeight == LayerWeight::expansion) {
              broadcast<Shape>(exchange_ + Shape::exchange().expanded() +
                                   own_token() * (Shape::kInner / 2) + own_pair<kWeight>(),
                               pair_of<T>(gelu_by_exp(sum.x), gelu_by_exp(sum.y)));
            } else {
              send(exchange_ + Shape::exchange().qkv() + own_token() * (3 * Shape::kHidden / 2) +
                       own_pair<kWeight>(),
                   pair_of<T>(sum.x, sum.y));
            }
          });
    }
    this->template fetch_next<kWeight>(layer);
  }

  /// Of the attention, added to the residual stream.
  __device__ void project(int layer) {
    constexpr auto kWeight = LayerWeight::projection;
    if (weights_.template share<kWeight>().count > 0) {
      const unsigned bias = this->template next_bias<kWeight>(layer);
      const float2 before = residual_before_attention(layer);
      weights_.template wait<kWeight>(layer);
#pragma unroll
      for (int first = 0; first < Shape::kHeads; first += kFusedWarps) {
        const int own = first + warp_;
        const int head = own < Shape::kHeads ? own : -1;
        receive_attention_of_tokens<T, Shape>(
            own_copy_, head, inputs_.count, [&](int token, float2 value) {
              const int pair = head * (kFusedHeadDim / 2) + lane_;
              const unsigned rounded = pair_of<T>(value.x, value.y);
              reinterpret_cast<unsigned*>(high_ + token * Shape::kRow)[pair] = rounded;
              reinterpret_cast<unsigned*>(high_ + Shape::kRows + token * Shape::kRow)[pair] =
                  rest_of(value, rounded);
            });
      }
      __syncthreads();
      multiply_tokens<T, Shape>(
          weights_.template strips<kWeight>(), weights_.template share<kWeight>().count, high_,
          shared_, [&](float2 sum) {
            add_to_residual<kWeight>(before, sum, bias, Shape::exchange().after_attention());
          });
    }
    this->template fetch_next<kWeight>(layer);
  }

  __device__ void contract(int layer) {
    constexpr auto kWeight = LayerWeight::contraction;
    if (weights_.template share<kWeight>().count > 0) {
      const unsigned bias = this->template next_bias<kWeight>(layer);
      float2 before{0.0F, 0.0F};
      if (warp_ == 0 && ends_sums()) {
        before = residual_at<kWeight>(own_copy_ + Shape::exchange().after_attention());
      }
      weights_.template wait<kWeight>(layer);
      multiply_arriving_tokens<T, Shape>(weights_.template strips<kWeight>(),
                                         own_copy_ + Shape::exchange().expanded(), inputs_.count,
                                         high_, shared_);
      __syncthreads();
      if (warp_ == 0) {
        float2 sum{0.0F, 0.0F};
#pragma unroll
        for (int i = 0; i < kFusedWarps; ++i) {
          const float2 one = shared_.token_sums[i][lane_];
          sum.x += one.x;
          sum.y += one.y;
        }
        add_to_residual<kWeight>(before, sum, bias, Shape::exchange().after_layer());
      }
    }
    this->template fetch_next<kWeight>(layer);
  }

  /// What this thread adds a product's sums to: words that are there already, as the block has
  /// worked with all of them.
  template <LayerWeight kWeight>
  [[nodiscard]] __device__ float2 residual_at(const unsigned* from) const {
    Arriving<2> words;
    words.poll_two<0>(from + own_token() * Shape::kHidden + 2 * own_pair<kWeight>());
    return {__uint_as_float(words.words[0]), __uint_as_float(words.words[1])};
  }
  [[nodiscard]] __device__ float2 residual_before_attention(int layer) const {
    constexpr auto kWeight = LayerWeight::projection;
    if (!ends_sums() || warp_ >= weights_.template share<kWeight>().count) {
      return {0.0F, 0.0F};
    }
    return layer == 0 ? embedded_pair(inputs_.tokens[own_token()], own_pair<kWeight>())
                      : residual_at<kWeight>(before_ + Shape::exchange().after_layer());
  }

  template <LayerWeight kWeight>
  __device__ void add_to_residual(float2 before, float2 sum, unsigned bias, int to) {
    if (ends_sums()) {
      const float2 biases = values_of<T>(bias);
      broadcast<Shape>(exchange_ + to + own_token() * Shape::kHidden + 2 * own_pair<kWeight>(),
                       float2{before.x + (sum.x + biases.x), before.y + (sum.y + biases.y)});
    }
  }

  __device__ void finish() {
    receive_residual(own_copy_ + Shape::exchange().after_layer());
    normalize(2 * args_.sizes.layers + 1);
    TopLogit best = head_.template run_tokens<Shape>(high_, inputs_);
    if (lane_ % 4 == 0) {
      shared_.token_bests[warp_][lane_ / 4] = best;
    }
    __syncthreads();
    if (warp_ > 0) {
      return;
    }
    const TopLogit none{INT_MAX, -INFINITY};
    const auto better = [](const TopLogit& a, const TopLogit& b) {
      return comes_before(a, b) ? a : b;
    };
    best = none;
#pragma unroll
    for (int warp = 0; warp < kFusedWarps; warp += 4) {
      best = better(shared_.token_bests[warp + lane_ % 4][lane_ / 4], best);
    }
    best = best_of_lanes<4>(best);
    const auto blocks = static_cast<int>(gridDim.x);
    unsigned* bests = args_.exchange + args_.sizes.layers * Shape::exchange().layer_words();
    if (lane_ % 4 == 0 && own_token() < inputs_.count) {
      send(bests + 2 * (own_token() * blocks + static_cast<int>(blockIdx.x)),
           float2{__int_as_float(best.token), best.logit});
    }
    // One block ends each token.
    const auto number = static_cast<int>(blockIdx.x);
    if (number >= inputs_.count || inputs_.tokens[number].logits_rows == 0) {
      return;
    }
    best = none;
#pragma unroll 1
    for (int first = 0; first < blocks; first += 32) {
      const int block = first + lane_;
      const auto arriving = receive<2>([&](Arriving<2>& to) {
        if (block < blocks) {
          to.poll_two<0>(bests + 2 * (number * blocks + block));
        }
      });
      if (block < blocks) {
        best =
            better({static_cast<int>(arriving.words[0]), __uint_as_float(arriving.words[1])}, best);
      }
    }
    __syncwarp();
    best = best_of_lanes(best);
    static_assert(sizeof(TopLogit) == 8);
    if (inputs_.tokens[number].logits_rows >> lane_ & 1U) {
      send_to_host(args_.best + lane_, static_cast<unsigned>(best.token),
                   __float_as_uint(best.logit));
    }
  }

  const FusedTokensInputs& inputs_;
  uint4* high_;  // tokens' inputs of a product, rounded, then what rounding took
  int lane_;
  int warp_;
  float x_[kPerLane] = {};  // this lane's part of its warp's token's residual stream
  float origin_ = 0;
  uint2 norm_weight_[Shape::kVectors] = {};
  uint2 norm_bias_[Shape::kVectors] = {};
};

template <typename T, int kHeads, int kTokens>
__global__ void __launch_bounds__(kFusedThreads, 1)
    fused_tokens_kernel(const __grid_constant__ TokensKernelArgs<T> args) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ FusedShared shared;
  FusedTokens<T, TokensShape<kHeads, kTokens>>(args, dynamic, shared).run();
}

/// Calls `work` with the number of heads and the most tokens as types, or returns `otherwise`.
template <typename Result, typename Work>
Result with_shape(int heads, int capacity, Result otherwise, const Work& work) {
  const auto with_heads = [&](auto tokens) {
    switch (heads) {
      case 2:
        return work(std::integral_constant<int, 2>{}, tokens);
      case 12:
        return work(std::integral_constant<int, 12>{}, tokens);
      default:
        return otherwise;
    }
  };
  switch (capacity) {
    case 2:
      return with_heads(std::integral_constant<int, 2>{});
    case 4:
      return with_heads(std::integral_constant<int, 4>{});
    case 8:
      return with_heads(std::integral_constant<int, 8>{});
    default:
      return otherwise;
  }
}

}  // namespace

int most_fused_tokens(const FusedSizes& sizes, int multiprocessors) {
  for (const int capacity : {8, 4, 2}) {
    if (with_shape(sizes.heads, capacity, false, [](auto, auto) { return true; }) &&
        sizes.heads * capacity * splits_of(capacity) <= multiprocessors &&
        FusedSharedLayout::of_tokens(sizes, multiprocessors, shared_capacity(), capacity).slots >
            0) {
      return capacity;
    }
  }
  return 0;
}

template <typename T>
cudaError_t fused_tokens(const FusedStepArgs<T>& args, const FusedTokensInputs& inputs,
                         int capacity, int multiprocessors, cudaStream_t stream) {
  const TokensKernelArgs<T> of_kernel{
      args, inputs,
      FusedSharedLayout::of_tokens(args.sizes, multiprocessors, shared_capacity(), capacity),
      kept_head_strips(args.sizes, multiprocessors)};
  return with_shape(
      args.sizes.heads, capacity, cudaErrorInvalidValue, [&](auto heads, auto tokens) {
        const auto kernel = fused_tokens_kernel<T, decltype(heads)::value, decltype(tokens)::value>;
        static const cudaError_t more_shared = cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_capacity());
        return more_shared != cudaSuccess ? more_shared
                                          : launch_together(kernel, of_kernel, multiprocessors,
                                                            of_kernel.layout.bytes, stream);
      });
}

template cudaError_t fused_tokens(const FusedStepArgs<__half>&, const FusedTokensInputs&, int, int,
                                  cudaStream_t);
template cudaError_t fused_tokens(const FusedStepArgs<__nv_bfloat16>&, const FusedTokensInputs&,
                                  int, int, cudaStream_t);

}  // namespace kvcache::kernels
