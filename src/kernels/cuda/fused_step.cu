#include <type_traits>
#include <utility>

#include "kernels/cuda/fused_attention.cuh"
#include "kernels/cuda/fused_block.cuh"
#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/fused_layers.cuh"
#include "kernels/cuda/fused_products.cuh"
#include "kernels/cuda/fused_step.hpp"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

/// What the launch works out once for all blocks.
template <typename T>
struct FusedKernelArgs {
  FusedStepArgs<T> step;
  FusedSharedLayout layout;
  int kept_head_strips;  // of a block, in the second-level cache
};

/// One block's way through the step.
template <typename T, typename Shape>
class FusedStep : public FusedLayers<FusedStep<T, Shape>, T, Shape, FusedAttention<T, Shape>> {
  using Base = FusedLayers<FusedStep, T, Shape, FusedAttention<T, Shape>>;
  friend Base;
  using Base::args_;
  using Base::attention_;
  using Base::exchange_;
  using Base::head_;
  using Base::own_copy_;
  using Base::shared_;
  using Base::thread_;
  using Base::weights_;

 public:
  __device__ FusedStep(const FusedKernelArgs<T>& args, unsigned char* dynamic, FusedShared& shared)
      : Base(args.step, args.layout, dynamic, args.kept_head_strips, shared,
             static_cast<int>(blockIdx.x)),
        high_(reinterpret_cast<unsigned*>(dynamic + args.layout.high_at)),
        low_(reinterpret_cast<unsigned*>(dynamic + args.layout.low_at)),
        residual_(reinterpret_cast<float2*>(dynamic + args.layout.residual_at)),
        inner_(reinterpret_cast<uint4*>(dynamic + args.layout.inner_at)) {}

 private:
  static constexpr int kPairsOfThread = Shape::kPairsOfThread;

  __device__ void start() {
    // What is small is asked for first: behind the weights it would wait for all of them.
    const Embedded embedded = load_embedding();
    this->load_vectors();
    this->begin_loads();
    embed(embedded);
    this->clear_other_exchange(1);
    __syncthreads();
  }

  /// Calls `work` with the number and the place of each pair of a token that this thread has.
  template <typename Work>
  __device__ void for_my_pairs(const Work& work) {
#pragma unroll
    for (int i = 0; i < kPairsOfThread; ++i) {
      const int pair = thread_ + i * kFusedThreads;
      if (Shape::kPairs % kFusedThreads == 0 || pair < Shape::kPairs) {
        work(i, pair);
      }
    }
  }

  __device__ void keep(int i, int pair, float2 value) {
    x_[i] = value;
    residual_[pair] = value;
  }

  /// What this thread has of the token's and the position's embedding.
  struct Embedded {
    bool exists;
    T firsts[2];
    unsigned tokens[kPairsOfThread];
    unsigned places[kPairsOfThread];
  };

  __device__ Embedded load_embedding() {
    const std::int64_t id = args_.inputs.input_id;
    const std::int64_t position = args_.inputs.position_id;
    Embedded embedded;
    embedded.exists = id >= 0 && id < args_.sizes.vocab_size && position >= 0 &&
                      position < args_.sizes.max_seq_len;
    const T* token = args_.token_weight + (embedded.exists ? id : 0) * Shape::kHidden;
    const T* place = args_.position_weight + (embedded.exists ? position : 0) * Shape::kHidden;
    embedded.firsts[0] = token[0];
    embedded.firsts[1] = place[0];
    for_my_pairs([&](int i, int pair) {
      embedded.tokens[i] = load_pair(token, pair);
      embedded.places[i] = load_pair(place, pair);
    });
    return embedded;
  }

  __device__ void embed(const Embedded& embedded) {
    origin_ = to_float(embedded.firsts[0]) + to_float(embedded.firsts[1]);
    for_my_pairs([&](int i, int pair) {
      const float2 a = values_of<T>(embedded.tokens[i]);
      const float2 b = values_of<T>(embedded.places[i]);
      keep(i, pair, embedded.exists ? float2{a.x + b.x, a.y + b.y} : float2{nanf(""), nanf("")});
    });
  }

  template <int... kNumbers>
  __device__ void poll_pairs(Arriving<2 * kPairsOfThread>& to, const unsigned* from,
                             std::integer_sequence<int, kNumbers...> /*numbers*/) const {
    const auto poll = [&](auto number) {
      constexpr int kNumber = decltype(number)::value;
      const int pair = thread_ + kNumber * kFusedThreads;
      if (Shape::kPairs % kFusedThreads == 0 || pair < Shape::kPairs) {
        to.template poll_two<2 * kNumber>(from + 2 * pair);
      }
    };
    (poll(std::integral_constant<int, kNumbers>{}), ...);
  }

  __device__ void receive_residual(const unsigned* from) {
    const auto arriving =
        receive_together<2 * kPairsOfThread>([&](Arriving<2 * kPairsOfThread>& to) {
          poll_pairs(to, from, std::make_integer_sequence<int, kPairsOfThread>{});
        });
    for_my_pairs([&](int i, int pair) {
      keep(i, pair,
           {__uint_as_float(arriving.words[2 * i]), __uint_as_float(arriving.words[2 * i + 1])});
    });
  }

  /// A norm's weight and bias on their way.
  __device__ void load_norm(int number) {
    const auto norm = this->norm(number);
    for_my_pairs([&](int i, int pair) {
      norm_weight_[i] = load_pair(norm.weight, pair);
      norm_bias_[i] = load_pair(norm.bias, pair);
    });
  }

  /// Layer norm of the residual stream to `high_` + `low_`, after which the norm `next` is on its
  /// way. Moments are about the mean of the norm before, near enough to lose nothing to
  /// cancellation.
  __device__ void normalize(int next) {
    float2 moment{0.0F, 0.0F};
    for_my_pairs([&](int i, int /*pair*/) {
      const float a = x_[i].x - origin_;
      const float b = x_[i].y - origin_;
      moment.x += a + b;
      moment.y += a * a + b * b;
    });
    moment = {sum_of_lanes(moment.x), sum_of_lanes(moment.y)};
    if (thread_ % 32 == 0) {
      shared_.moments[thread_ / 32] = moment;
    }
    __syncthreads();
    float2 total{0.0F, 0.0F};
#pragma unroll
    for (const float2& one : shared_.moments) {
      total.x += one.x;
      total.y += one.y;
    }
    constexpr float kInverse = 1.0F / Shape::kHidden;
    const float from_origin = total.x * kInverse;
    const float variance = total.y * kInverse - from_origin * from_origin;
    const float scale = rsqrtf(variance + args_.last_norm.epsilon);
    origin_ += from_origin;
    for_my_pairs([&](int i, int pair) {
      const float2 w = values_of<T>(norm_weight_[i]);
      const float2 b = values_of<T>(norm_bias_[i]);
      put_input(pair,
                {(x_[i].x - origin_) * scale * w.x + b.x, (x_[i].y - origin_) * scale * w.y + b.y});
    });
    if (next <= 2 * args_.sizes.layers) {
      load_norm(next);
    }
    __syncthreads();
  }

  /// A pair of a product's inputs, and what is lost when they are rounded.
  __device__ void put_input(int pair, float2 value) {
    const unsigned high = pair_of<T>(value.x, value.y);
    const float2 rounded = values_of<T>(high);
    high_[pair] = high;
    low_[pair] = pair_of<T>(value.x - rounded.x, value.y - rounded.y);
  }

  [[nodiscard]] __device__ const uint4* inputs() const {
    return reinterpret_cast<const uint4*>(high_);
  }

  /// The pair of columns that this thread ends.
  template <LayerWeight kWeight>
  [[nodiscard]] __device__ int own_pair() const {
    return weights_.template share<kWeight>().first * (kStripColumns / 2) + thread_;
  }

  template <LayerWeight kWeight>
  [[nodiscard]] __device__ unsigned load_bias(int layer) const {
    return thread_ < kMaxStrips * kStripColumns / 2 &&
                   thread_ < weights_.template share<kWeight>().count * kStripColumns / 2
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
      multiply<T, Shape::kPieces>(
          weights_.template strips<kWeight>(), weights_.template share<kWeight>().count, inputs(),
          shared_, [&](float2 sum) {
            const float2 biases = values_of<T>(bias);
            sum = {sum.x + biases.x, sum.y + biases.y};
            if constexpr (kWeight == LayerWeight::expansion) {
              broadcast<Shape>(exchange_ + Shape::exchange().expanded() + own_pair<kWeight>(),
                               pair_of<T>(gelu_by_exp(sum.x), gelu_by_exp(sum.y)));
            } else {
              send(exchange_ + Shape::exchange().qkv() + own_pair<kWeight>(),
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
      weights_.template wait<kWeight>(layer);
#pragma unroll
      for (int first = 0; first < Shape::kHeads; first += kFusedWarps) {
        const int own = first + thread_ / 32;
        const int head = own < Shape::kHeads ? own : -1;
        const float2 value = receive_attention<T, Shape>(own_copy_, head);
        if (head >= 0) {
          put_input(head * (kFusedHeadDim / 2) + thread_ % 32, value);
        }
      }
      __syncthreads();
      multiply<T, Shape::kPieces>(
          weights_.template strips<kWeight>(), weights_.template share<kWeight>().count, inputs(),
          shared_, [&](float2 sum) {
            add_to_residual(own_pair<kWeight>(), sum, bias, Shape::exchange().after_attention());
          });
    }
    this->template fetch_next<kWeight>(layer);
  }

  __device__ void contract(int layer) {
    constexpr auto kWeight = LayerWeight::contraction;
    if (weights_.template share<kWeight>().count > 0) {
      const unsigned bias = this->template next_bias<kWeight>(layer);
      weights_.template wait<kWeight>(layer);
      multiply_arriving<T, Shape::kInnerPieces>(weights_.template strips<kWeight>(),
                                                own_copy_ + Shape::exchange().expanded(), inner_,
                                                shared_);
      __syncthreads();
      if (thread_ < kStripColumns / 2) {
        add_to_residual(own_pair<kWeight>(), sum_of_warps<1>(shared_, thread_), bias,
                        Shape::exchange().after_layer());
      }
    }
    this->template fetch_next<kWeight>(layer);
  }

  __device__ void add_to_residual(int pair, float2 sum, unsigned bias, int to) {
    const float2 biases = values_of<T>(bias);
    const float2 before = residual_[pair];
    broadcast<Shape>(exchange_ + to + 2 * pair,
                     float2{before.x + (sum.x + biases.x), before.y + (sum.y + biases.y)});
  }

  __device__ void finish() {
    receive_residual(own_copy_ + Shape::exchange().after_layer());
    normalize(2 * args_.sizes.layers + 1);
    TopLogit best = head_.run(inputs());
    if (thread_ % 32 == 0) {
      shared_.bests[thread_ / 32] = best;
    }
    __syncthreads();
    if (thread_ >= 32) {
      return;
    }
    const TopLogit none{INT_MAX, -INFINITY};
    best = best_of_lanes(thread_ < kFusedWarps ? shared_.bests[thread_] : none);
    unsigned* bests = args_.exchange + args_.sizes.layers * Shape::exchange().layer_words();
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
      const auto arriving = receive<2>([&](Arriving<2>& to) {
        if (block < static_cast<int>(gridDim.x)) {
          to.poll_two<0>(bests + 2 * block);
        }
      });
      const TopLogit other{static_cast<int>(arriving.words[0]), __uint_as_float(arriving.words[1])};
      if (block < static_cast<int>(gridDim.x)) {
        best = comes_before(other, best) ? other : best;
      }
    }
    __syncwarp();
    best = best_of_lanes(best);
    if (thread_ == 0) {
      static_assert(sizeof(TopLogit) == 8);
      send_to_host(args_.best, static_cast<unsigned>(best.token), __float_as_uint(best.logit));
    }
  }

  unsigned* high_;                 // pairs of a product's inputs, rounded
  unsigned* low_;                  // and what rounding took
  float2* residual_;               // the residual stream
  uint4* inner_;                   // inputs of the contraction
  float2 x_[kPairsOfThread] = {};  // this thread's part of the residual stream
  float origin_ = 0;
  unsigned norm_weight_[kPairsOfThread] = {};  // of the next norm
  unsigned norm_bias_[kPairsOfThread] = {};
};

template <typename T, int kHeads>
__global__ void __launch_bounds__(kFusedThreads, 1)
    fused_step_kernel(const __grid_constant__ FusedKernelArgs<T> args) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ FusedShared shared;
  FusedStep<T, FusedShape<kHeads>>(args, dynamic, shared).run();
}

/// Grid: pieces of 32 inputs, strips. A thread has eight inputs of a column.
template <typename T>
__global__ void pack_strips_kernel(const T* panels, int inputs, T* strips) {
  constexpr int kPanel = static_cast<int>(kPanelColumns);
  const int piece = static_cast<int>(blockIdx.x);
  const int strip = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x);
  const int column = strip * kStripColumns + lane / 4;
  const int input = piece * kStripInputs + lane % 4 * 8;
  const T* from =
      panels + (std::int64_t{column / kPanel} * inputs + input) * kPanel + column % kPanel;
  T* to = strips + ((std::int64_t{strip} * (inputs / kStripInputs) + piece) * 32 + lane) * 8;
  for (int i = 0; i < 8; ++i) {
    to[i] = from[i * kPanel];
  }
}

}  // namespace

namespace {

/// The numbers of heads that the kernel is built for: GPT-2 (124M), GPT-2 medium, and a tiny model
/// for the tests. Calls `work` with the number as a type, or returns `otherwise`.
template <typename Result, typename Work>
Result with_heads(int heads, Result otherwise, const Work& work) {
  switch (heads) {
    case 2:
      return work(std::integral_constant<int, 2>{});
    case 12:
      return work(std::integral_constant<int, 12>{});
    case 16:
      return work(std::integral_constant<int, 16>{});
    default:
      return otherwise;
  }
}

}  // namespace

const char* why_not_fused(const FusedSizes& sizes, int multiprocessors) {
  if (!device_has_clusters()) {
    return "the GPU is older than sm_90";
  }
  if (sizes.hidden != sizes.heads * kFusedHeadDim || sizes.inner != 4 * sizes.hidden ||
      !with_heads(sizes.heads, false, [](auto /*heads*/) { return true; })) {
    return "the kernel is built for the sizes of GPT-2 (124M) and GPT-2 medium";
  }
  if (sizes.vocab_size > kMaxHeadStrips * kStripColumns * multiprocessors) {
    return "its vocabulary is too large";
  }
  if (sizes.max_seq_len > kMaxFusedContext) {
    return "its context is longer than 1,152 tokens";
  }
  if (sizes.strips(LayerWeight::contraction) > multiprocessors ||
      sizes.heads * splits_of(1) >= multiprocessors) {
    return "the GPU has too few multiprocessors";
  }
  if (FusedSharedLayout::of(sizes, multiprocessors, shared_capacity()).slots == 0) {
    return "a layer's weights do not fit into the GPU's shared memory";
  }
  return nullptr;
}

template <typename T>
cudaError_t pack_strips(const T* panels, int inputs, int outputs, T* strips, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(inputs / kStripInputs),
                  static_cast<unsigned>(outputs / kStripColumns));
  pack_strips_kernel<<<grid, 32, 0, stream>>>(panels, inputs, strips);
  return cudaGetLastError();
}

template <typename T>
cudaError_t fused_step(const FusedStepArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  const FusedKernelArgs<T> of_kernel{
      args, FusedSharedLayout::of(args.sizes, multiprocessors, shared_capacity()),
      kept_head_strips(args.sizes, multiprocessors)};
  return with_heads(args.sizes.heads, cudaErrorInvalidValue, [&](auto heads) {
    const auto kernel = fused_step_kernel<T, decltype(heads)::value>;
    static const cudaError_t more_shared = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_capacity());
    return more_shared != cudaSuccess ? more_shared
                                      : launch_together(kernel, of_kernel, multiprocessors,
                                                        of_kernel.layout.bytes, stream);
  });
}

template cudaError_t pack_strips(const __half*, int, int, __half*, cudaStream_t);
template cudaError_t pack_strips(const __nv_bfloat16*, int, int, __nv_bfloat16*, cudaStream_t);
template cudaError_t fused_step(const FusedStepArgs<__half>&, int, cudaStream_t);
template cudaError_t fused_step(const FusedStepArgs<__nv_bfloat16>&, int, cudaStream_t);

}  // namespace kvcache::kernels
