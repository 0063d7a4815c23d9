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
  [[nodiscard]] double dot(const std::vector<double>& of, std::int64_t output, int matrix) const {
    const std::int64_t panel = (gated ? 2 : 1) * (output / kPanelColumns) + matrix;
    double sum = 0;
    for (std::int64_t i = 0; i < product.inputs; ++i) {
      const std::int64_t at = (panel * product.inputs + i) * kPanelColumns + output % kPanelColumns;
      sum += of[static_cast<std::size_t>(i)] *
             static_cast<double>(weight[static_cast<std::size_t>(at)]);
    }
    return sum;
  }

  [[nodiscard]] std::vector<double> expected(std::int64_t token) const {
    const auto first = x.begin() + token * product.inputs;
    const std::vector<double> normed =
        rms_normed({first, first + product.inputs}, norm.data(), product.epsilon);
    std::vector<double> y(static_cast<std::size_t>(product.outputs));
    for (std::int64_t i = 0; i < product.outputs; ++i) {
      const double sum = test::activated(product.activation, dot(normed, i, 0));
      y[static_cast<std::size_t>(i)] = gated ? sum * dot(normed, i, 1) : sum;
    }
    if (product.post_norm_weight != nullptr) {
      y = rms_normed(y, product.post_norm_weight, product.post_epsilon);
    }
    for (std::int64_t i = 0; i < product.outputs; ++i) {
      double& element = y[static_cast<std::size_t>(i)];
      element +=
          static_cast<double>(residual[static_cast<std::size_t>(token * product.outputs + i)]);
      const double cap = product.soft_cap;
      element = cap > 0 ? cap * std::tanh(element / cap) : element;
    }
    return y;
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
      const std::vector<double> expected = of.expected(token);
      double largest = 1;
      for (const double element : expected) {
        largest = std::max(largest, std::abs(element));
      }
      for (std::size_t i = 0; i < expected.size(); ++i) {
        // Sums of up to 90 products, of which a gate multiplies two.
        const auto at = static_cast<std::size_t>(token) * expected.size() + i;
        ASSERT_NEAR(out[at], expected[i], 1e-5 * largest)
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
