// A block's way through the layers of a fused step, whatever its tokens are.
#pragma once

#include "kernels/cuda/fused_head.cuh"
#include "kernels/cuda/fused_weights.cuh"

namespace kvcache::kernels {

/// Step is the class that derives from it, and has what depends on the tokens: embed(),
/// receive_residual(), load_norm(), normalize(), load_bias(), multiply_normalized(), project(),
/// contract() and finish().
template <typename Step, typename T, typename Shape, typename Attention>
class FusedLayers {
 public:
  /// `of_attention`: what Attention is made of behind `args`.
  template <typename... OfAttention>
  __device__ FusedLayers(const FusedStepArgs<T>& args, const FusedSharedLayout& layout,
                         unsigned char* dynamic, int kept_head_strips, FusedShared& shared,
                         const OfAttention&... of_attention)
      : args_(args),
        shared_(shared),
        thread_(static_cast<int>(threadIdx.x)),
        attention_(args_, of_attention...),
        head_(args_, dynamic, layout, kept_head_strips, shared),
        weights_(args_, layout, dynamic, shared) {}

  __device__ void run() {
    step().start();
#pragma unroll 1
    for (int layer = 0; layer < args_.sizes.layers; ++layer) {
      before_ = own_copy_;
      exchange_ = args_.exchange + layer * Shape::exchange().layer_words();
      own_copy_ = exchange_ +
                  static_cast<int>(blockIdx.x) % Shape::kCopies * Shape::exchange().copy_words();
      if (layer > 0) {
        step().receive_residual(before_ + Shape::exchange().after_layer());
      }
      step().normalize(2 * layer + 1);
      step().template multiply_normalized<LayerWeight::qkv>(layer);
      if (attention_.takes_part()) {
        attention_.run(exchange_, shared_);
        if (layer + 1 < args_.sizes.layers) {
          attention_.prefetch(layer + 1);
        }
      }
      step().project(layer);
      step().receive_residual(own_copy_ + Shape::exchange().after_attention());
      step().normalize(2 * layer + 2);
      step().template multiply_normalized<LayerWeight::expansion>(layer);
      step().contract(layer);
    }
    step().finish();
  }

 protected:
  /// The first layer's small vectors, which would wait for all weights behind them.
  __device__ void load_vectors() {
    bias_[0] = step().template load_bias<LayerWeight::qkv>(0);
    bias_[1] = step().template load_bias<LayerWeight::projection>(0);
    bias_[2] = step().template load_bias<LayerWeight::expansion>(0);
    bias_[3] = step().template load_bias<LayerWeight::contraction>(0);
    step().load_norm(0);
  }

  /// The first layer's past and weights.
  __device__ void begin_loads() {
    if (attention_.takes_part()) {
      attention_.locate();
      attention_.prefetch(0);
    }
    if (thread_ == kFetchingThread) {
      weights_.begin(head_);
    }
    head_.initialize();
  }

  /// The other exchange, of so many tokens, for the next step.
  __device__ void clear_other_exchange(int tokens) const {
    clear_share(args_.other_exchange, args_.sizes.layers * Shape::exchange().layer_words() +
                                          2 * static_cast<int>(gridDim.x) * tokens);
  }

  /// The next layer's strips of a weight that this layer has used.
  template <LayerWeight kWeight>
  __device__ void fetch_next(int layer) {
    if (thread_ == kFetchingThread) {
      // A block that attends right after it is waited for.
      const bool pauses = kWeight != LayerWeight::qkv || !attention_.takes_part();
      weights_.template fetch<kWeight>(layer + 1, pauses, head_);
    }
  }

  [[nodiscard]] __device__ const T* vectors_of(int layer) const {
    return args_.vectors + layer * Shape::vectors().elements();
  }

  /// Norms are counted through the layers, the last is the one before the head.
  struct Norm {
    const T* weight;
    const T* bias;
  };
  [[nodiscard]] __device__ Norm norm(int number) const {
    const bool last = number == 2 * args_.sizes.layers;
    const T* weight = last ? args_.last_norm.weight
                           : vectors_of(number / 2) + Shape::vectors().norm_weight(number % 2);
    return {weight, last ? args_.last_norm.bias : weight + Shape::kHidden};
  }

  /// A weight's biases of this layer, which are there, while those of the next are asked for.
  template <LayerWeight kWeight>
  __device__ unsigned next_bias(int layer) {
    unsigned& kept = bias_[static_cast<int>(kWeight)];
    const unsigned bias = kept;
    if (layer + 1 < args_.sizes.layers) {
      kept = step().template load_bias<kWeight>(layer + 1);
    }
    return bias;
  }

  const FusedStepArgs<T>& args_;
  FusedShared& shared_;
  int thread_;
  unsigned* exchange_ = nullptr;        // of the layer
  const unsigned* own_copy_ = nullptr;  // of it, that this block reads
  const unsigned* before_ = nullptr;    // that of the layer before
  unsigned bias_[kLayerWeights] = {};   // of the next product with each weight
  Attention attention_;
  FusedHead<T, Shape> head_;
  FusedWeights<T, Shape> weights_;

 private:
  [[nodiscard]] __device__ Step& step() { return static_cast<Step&>(*this); }
};

}  // namespace kvcache::kernels
