#include "kernels/cpu/value_head_cpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "kernels/panels.hpp"
#include "support/random_cases.hpp"
#include "support/value_activations.hpp"

namespace kvcache::kernels {
namespace {

using test::activated;
using test::Random;
using Vector = std::vector<float>;

Vector random_vector(Random& random, std::int64_t size, float scale = 1) {
  Vector vector(static_cast<std::size_t>(size));
  std::ranges::generate(vector, [&] { return scale * random.normal(); });
  return vector;
}

std::vector<double> normed(const std::vector<double>& x, const Vector& weight, const Vector& bias,
                           double epsilon) {
  double mean = 0;
  for (const double value : x) {
    mean += value / static_cast<double>(x.size());
  }
  double variance = 0;
  for (const double value : x) {
    variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
  }
  std::vector<double> out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    out.push_back((x[i] - mean) / std::sqrt(variance + epsilon) * weight[i] + bias[i]);
  }
  return out;
}

/// A random head with its weights, and the definition in double precision.
struct ValueHeadCase {
  explicit ValueHeadCase(Random& random) {
    constexpr ValueActivation kAll[]{ValueActivation::identity, ValueActivation::relu,
                                     ValueActivation::gelu_erf, ValueActivation::tanh,
                                     ValueActivation::sigmoid};
    std::int64_t inputs = random.integer(1, 80);
    head.norm.size = inputs;
    norm_weight = random_vector(random, inputs);
    norm_bias = random_vector(random, inputs);
    head.norm.weight = norm_weight.data();
    head.norm.bias = norm_bias.data();
    head.norm.epsilon = 1e-5F;
    head.layer_epsilon = 1e-3F;
    head.activation = random.pick(kAll);
    head.output_activation = random.pick(kAll);
    head.num_layers = static_cast<std::size_t>(random.integer(0, 3));
    layers.resize(head.num_layers);
    for (std::size_t i = 0; i < head.num_layers; ++i) {
      const std::int64_t outputs = random.integer(1, 140);
      layers[i] = {random_vector(random, panel_count(outputs) * kPanelColumns * inputs,
                                 1 / std::sqrt(static_cast<float>(inputs))),
                   random_vector(random, outputs), random_vector(random, outputs),
                   random_vector(random, outputs)};
      const bool with_norm = random.chance(0.6);
      head.layers.at(i) = {layers[i].weight.data(),
                           layers[i].bias.data(),
                           with_norm ? layers[i].norm_weight.data() : nullptr,
                           with_norm ? layers[i].norm_bias.data() : nullptr,
                           inputs,
                           outputs};
      inputs = outputs;
    }
    output_weight = random_vector(random, inputs, 1 / std::sqrt(static_cast<float>(inputs)));
    head.output_weight = output_weight.data();
    head.output_bias = random.normal();
  }

  [[nodiscard]] double expected(std::span<const float> token) const {
    std::vector<double> x(token.begin(), token.end());
    x = normed(x, norm_weight, norm_bias, head.norm.epsilon);
    for (std::size_t i = 0; i < head.num_layers; ++i) {
      const ValueHeadLayer& layer = head.layers.at(i);
      std::vector<double> y;
      for (std::int64_t output = 0; output < layer.outputs; ++output) {
        double sum = layer.bias[output];
        for (std::int64_t input = 0; input < layer.inputs; ++input) {
          sum += x[static_cast<std::size_t>(input)] *
                 layer.weight[(output / kPanelColumns * layer.inputs + input) * kPanelColumns +
                              output % kPanelColumns];
        }
        y.push_back(sum);
      }
      if (layer.norm_weight != nullptr) {
        y = normed(y, layers[i].norm_weight, layers[i].norm_bias, head.layer_epsilon);
      }
      std::ranges::transform(y, y.begin(), [&](double v) { return activated(head.activation, v); });
      x = y;
    }
    double sum = head.output_bias;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum += x[i] * output_weight[i];
    }
    return activated(head.output_activation, sum);
  }

  struct Layer {
    Vector weight;
    Vector bias;
    Vector norm_weight;
    Vector norm_bias;
  };
  ValueHead head;
  Vector norm_weight;
  Vector norm_bias;
  std::vector<Layer> layers;
  Vector output_weight;
};

TEST(ValueHead, EqualsTheDefinitionInDoublePrecision) {
  test::for_random_cases(60, [](Random& random) {
    const ValueHeadCase of(random);
    const std::int64_t size = of.head.norm.size;
    const std::int64_t tokens = random.integer(1, 40);
    const Vector x = random_vector(random, tokens * size);
    std::vector<std::int64_t> selected(static_cast<std::size_t>(random.integer(1, 40)));
    std::ranges::generate(selected, [&] { return random.integer(0, tokens - 1); });
    const bool all = random.chance(0.3);
    const auto count = all ? static_cast<std::size_t>(tokens) : selected.size();
    Vector out(count);
    ValueHeadRun run{.x = x.data(), .out = out.data(), .tokens = static_cast<std::int64_t>(count)};
    if (!all) {
      run.selected = selected.data();
      run.selected_count = run.tokens;
      run.batch_tokens = tokens;
    }
    value_head_cpu(of.head, run, Alone());
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t token = all ? static_cast<std::int64_t>(i) : selected[i];
      const double expected = of.expected(std::span(x).subspan(
          static_cast<std::size_t>(token * size), static_cast<std::size_t>(size)));
      EXPECT_NEAR(out[i], expected, 2e-3 * (1 + std::abs(expected)));
    }
  });
}

}  // namespace
}  // namespace kvcache::kernels
