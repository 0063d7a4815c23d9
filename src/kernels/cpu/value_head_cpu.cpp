#include "kernels/cpu/value_head_cpu.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <utility>

#include "base/rounding.hpp"
#include "base/thread_scratch.hpp"
#include "kernels/cpu/linear_cpu.hpp"

namespace kvcache::kernels {
namespace {

// One thread does all layers of so many tokens: a loop of all threads for each of these products
// would cost more than the product.
constexpr std::int64_t kTaskTokens = 16;

void activate(ValueActivation activation, std::span<float> values) {
  switch (activation) {
    case ValueActivation::identity:
      return;
    case ValueActivation::relu:
      std::ranges::transform(values, values.begin(), [](float x) { return std::max(x, 0.0F); });
      return;
    case ValueActivation::gelu_erf:
      std::ranges::transform(values, values.begin(), [](float x) {
        return 0.5F * x * (1 + std::erf(x * (1 / std::numbers::sqrt2_v<float>)));
      });
      return;
    case ValueActivation::tanh:
      std::ranges::transform(values, values.begin(), [](float x) { return std::tanh(x); });
      return;
    case ValueActivation::sigmoid:
      std::ranges::transform(values, values.begin(),
                             [](float x) { return 1 / (1 + std::exp(-x)); });
      return;
  }
}

class Task {
 public:
  Task(const ValueHead& head, std::int64_t tokens) : head_(head), tokens_(tokens) {
    for (std::size_t layer = 0; layer < head.num_layers; ++layer) {
      widest_ = std::max(widest_, head.layers[layer].outputs);
    }
    normed_ = thread_scratch(tokens * head.norm.size, ScratchUse::normed);
    products_ = thread_scratch(2 * tokens * widest_, ScratchUse::call);
    inner_ = products_ + tokens * widest_;
  }

  /// The final norm of the task's tokens, of which `run` has the first at its place `first`.
  void normalize(const ValueHeadRun& run, std::int64_t first) {
    TokenNormArgs args = head_.norm;
    args.tokens = 1;
    TokenNormArgs all;
    all.selected = run.selected;
    all.selected_count = run.selected_count;
    all.batch_tokens = run.batch_tokens;
    for (std::int64_t token = 0; token < tokens_; ++token) {
      args.x = run.x + all.row(first + token) * args.size;
      args.out = normed_ + token * args.size;
      norm_cpu(args, alone_);
    }
    x_ = normed_;
    width_ = args.size;
  }

  void layer(std::size_t number) {
    const ValueHeadLayer& layer = head_.layers[number];
    linear_cpu<float>({.x = x_,
                       .weight = layer.weight,
                       .bias = layer.bias,
                       .out = products_,
                       .tokens = tokens_,
                       .inputs = layer.inputs,
                       .outputs = layer.outputs},
                      alone_);
    if (layer.norm_weight == nullptr) {
      std::swap(products_, inner_);
    } else {
      norm_cpu({.x = products_,
                .weight = layer.norm_weight,
                .bias = layer.norm_bias,
                .out = inner_,
                .tokens = tokens_,
                .size = layer.outputs,
                .epsilon = head_.layer_epsilon},
               alone_);
    }
    activate(head_.activation, {inner_, static_cast<std::size_t>(tokens_ * layer.outputs)});
    x_ = inner_;
    width_ = layer.outputs;
  }

  void output(float* out) const {
    for (std::int64_t token = 0; token < tokens_; ++token) {
      float sum = head_.output_bias;
      for (std::int64_t i = 0; i < width_; ++i) {
        sum += x_[token * width_ + i] * head_.output_weight[i];
      }
      out[token] = sum;
    }
    activate(head_.output_activation, {out, static_cast<std::size_t>(tokens_)});
  }

 private:
  const ValueHead& head_;
  std::int64_t tokens_;
  std::int64_t widest_ = 0;
  float* normed_;
  float* products_;
  float* inner_;
  const float* x_ = nullptr;
  std::int64_t width_ = 0;
  Alone alone_;
};

}  // namespace

void value_head_cpu(const ValueHead& head, const ValueHeadRun& run,
                    const ParallelFor& parallel_for) {
  parallel_for(divide_up(run.tokens, kTaskTokens), [&](std::int64_t number) {
    const std::int64_t first = number * kTaskTokens;
    Task task(head, std::min(kTaskTokens, run.tokens - first));
    task.normalize(run, first);
    for (std::size_t layer = 0; layer < head.num_layers; ++layer) {
      task.layer(layer);
    }
    task.output(run.out + first);
  });
}

}  // namespace kvcache::kernels
