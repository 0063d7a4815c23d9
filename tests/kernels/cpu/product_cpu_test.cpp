// What surrounds a product: norms before and behind it, gate, residual, soft cap.
#include "kernels/cpu/product_cpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"
#include "support/product_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::normal_floats;
using test::Random;

/// x / √(mean of squares + epsilon) · weight, in double precision.
std::vector<double> rms_normed(const std::vector<double>& x, const float* weight, double epsilon) {
  double squares = 0;
  for (const double element : x) {
    squares += element * element;
  }
  const double divisor = std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
  std::vector<double> normed(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    normed[i] = x[i] / divisor * static_cast<double>(weight[i]);
  }
  return normed;
}

constexpr double kRounding = 0x1p-24;  // half a unit in the last place of float32

/// A number, and how far off a computation in float32 may be.
struct Bounded {
  double value = 0;
  double error = 0;

  friend Bounded operator*(const Bounded& a, const Bounded& b) {
    const double product = a.value * b.value;
    return {product, std::abs(a.value) * b.error + std::abs(b.value) * a.error +
                         kRounding * std::abs(product)};
  }
};

/// A random product in panels with everything that it may have.
struct ProductCase {
  explicit ProductCase(Random& random)
      : tokens(random.integer(1, 12)),
        gated(random.chance(0.5)),
        x(normal_floats(random, tokens * random.integer(1, 90))) {
    product.inputs = static_cast<std::int64_t>(x.size()) / tokens;
    product.outputs = random.integer(1, 150);
    const std::int64_t panels = (gated ? 2 : 1) * panel_count(product.outputs);
    weight = normal_floats(random, panels * product.inputs * kPanelColumns);
    norm = normal_floats(random, product.inputs);
    post_norm = normal_floats(random, product.outputs);
    residual = normal_floats(random, tokens * product.outputs);
    product.weight = weight.data();
    product.norm_kind = NormKind::rms;
    product.norm_weight = norm.data();
    product.epsilon = 1e-5F;
    product.gated = gated;
    product.activation = gated ? Activation::silu : Activation::none;
    product.post_norm_weight = random.chance(0.5) ? post_norm.data() : nullptr;
    product.post_epsilon = 1e-3F;
    product.soft_cap = random.chance(0.3) ? 5.0F : 0.0F;
  }

  /// Column `output` of one of the matrices times x.
  [[nodiscard]] Bounded dot(const std::vector<double>& of, std::int64_t output, int matrix) const {
    const std::int64_t panel = (gated ? 2 : 1) * (output / kPanelColumns) + matrix;
    double sum = 0;
    double magnitude = 0;
    for (std::int64_t i = 0; i < product.inputs; ++i) {
      const std::int64_t at = (panel * product.inputs + i) * kPanelColumns + output % kPanelColumns;
      const double one = of[static_cast<std::size_t>(i)] *
                         static_cast<double>(weight[static_cast<std::size_t>(at)]);
      sum += one;
      magnitude += std::abs(one);
    }
    // Each sum on the way to it is rounded, and each input's norm was, in some ten roundings.
    return {sum, kRounding * static_cast<double>(product.inputs + 10) * magnitude};
  }

  [[nodiscard]] std::vector<Bounded> expected(std::int64_t token) const {
    const auto first = x.begin() + token * product.inputs;
    const std::vector<double> normed =
        rms_normed({first, first + product.inputs}, norm.data(), product.epsilon);
    std::vector<Bounded> y(static_cast<std::size_t>(product.outputs));
    for (std::int64_t i = 0; i < product.outputs; ++i) {
      const Bounded sum = dot(normed, i, 0);
      const double activated = test::activated(product.activation, sum.value);
      // No activation is steeper than 1.13; each costs some roundings of its own.
      const Bounded gate{activated, 1.13 * sum.error + 8 * kRounding * std::abs(activated)};
      y[static_cast<std::size_t>(i)] = gated ? gate * dot(normed, i, 1) : gate;
    }
    if (product.post_norm_weight != nullptr) {
      y = post_normed(y);
    }
    for (std::int64_t i = 0; i < product.outputs; ++i) {
      Bounded& element = y[static_cast<std::size_t>(i)];
      element.value +=
          static_cast<double>(residual[static_cast<std::size_t>(token * product.outputs + i)]);
      const double cap = product.soft_cap;  // nowhere steeper than 1
      element.value = cap > 0 ? cap * std::tanh(element.value / cap) : element.value;
      element.error += 8 * kRounding * (1 + std::abs(element.value));
    }
    return y;
  }

  /// The norm of what has errors: those of an element, and of the divisor, which is at most as far
  /// off as the errors' own root mean square.
  [[nodiscard]] std::vector<Bounded> post_normed(const std::vector<Bounded>& y) const {
    std::vector<double> values;
    double squares = 0;
    double errors = 0;
    for (const Bounded& element : y) {
      values.push_back(element.value);
      squares += element.value * element.value;
      errors += element.error * element.error;
    }
    const double size = static_cast<double>(y.size());
    const double divisor = std::sqrt(squares / size + static_cast<double>(product.post_epsilon));
    const double relative =
        std::sqrt(errors / size) / divisor + (size / 2 + 10) * kRounding;  // of the divisor
    values = rms_normed(values, product.post_norm_weight, product.post_epsilon);
    std::vector<Bounded> normed;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double factor = std::abs(static_cast<double>(product.post_norm_weight[i]));
      normed.push_back({values[i], factor * y[i].error / divisor + std::abs(values[i]) * relative});
    }
    return normed;
  }

  std::int64_t tokens;
  bool gated;
  std::vector<float> x, weight, norm, post_norm, residual;
  Product product;
};

class ProductsOfAModel : public test::OnInstructionSet {};

TEST_P(ProductsOfAModel, AgreeWithDoublePrecision) {
  test::for_random_cases(80, [](Random& random) {
    const ProductCase of(random);
    std::vector<float> out(of.residual.size(), std::numeric_limits<float>::quiet_NaN());
    product_cpu(
        of.product,
        {.x = of.x.data(), .residual = of.residual.data(), .out = out.data(), .tokens = of.tokens},
        test::ThreeThreads());
    for (std::int64_t token = 0; token < of.tokens; ++token) {
      const std::vector<Bounded> expected = of.expected(token);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const auto at = static_cast<std::size_t>(token) * expected.size() + i;
        ASSERT_NEAR(out[at], expected[i].value, expected[i].error)
            << "token " << token << ", output " << i << (of.gated ? ", gated" : "");
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Targets, ProductsOfAModel, test::all_instruction_sets(),
                         test::instruction_set_name);

TEST(WeightBytes, OfAGateAreThoseOfBothMatrices) {
  const std::vector<float> weight(4 * kPanelColumns);
  Product product{.weight = weight.data(), .inputs = 1, .outputs = 100};
  EXPECT_EQ(weight_bytes(product).size(), 2 * kPanelColumns * sizeof(float));
  product.gated = true;
  EXPECT_EQ(weight_bytes(product).size(), 4 * kPanelColumns * sizeof(float));
}

}  // namespace
}  // namespace kvcache::kernels
