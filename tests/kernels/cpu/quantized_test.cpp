// Products with weights of 8 and 4 bits against double precision, on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL  // as the kernels have it
#endif
#include "base/float16.hpp"
#include "kernels/cpu/quantized_cpu.hpp"
#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"
#include "support/product_cases.hpp"
#include "support/quantized_case.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::index;
using test::normal_floats;
using test::Random;

/// A random weight and tokens: sizes that meet every tile, partial blocks and panels, and several
/// tasks.
struct Case {
  explicit Case(Random& random)
      : tokens(random.chance(0.1) ? random.integer(120, 300) : random.integer(1, 20)),
        inputs(random.chance(0.1) ? random.integer(760, 800) : random.integer(1, 90)),
        outputs(random.integer(1, 300)),
        weight(random, inputs, outputs),
        x(normal_floats(random, tokens * inputs)),
        bias(normal_floats(random, outputs)) {
    // Tokens and blocks of different magnitudes.
    for (float& element : x) {
      element *= random.chance(0.1) ? 30.0F : 1.0F;
    }
  }

  [[nodiscard]] QuantizedLinearArgs args(std::vector<float>& out, AccuracyLevel accuracy) const {
    out.assign(index(tokens * outputs), std::numeric_limits<float>::quiet_NaN());
    return {.x = x.data(),
            .weight = weight.view(),
            .bias = bias.data(),
            .out = out.data(),
            .tokens = tokens,
            .accuracy = accuracy};
  }
  [[nodiscard]] std::vector<float> product(AccuracyLevel accuracy) const {
    std::vector<float> out;
    quantized_linear_cpu(args(out, accuracy), test::ThreeThreads());
    return out;
  }

  std::int64_t tokens;
  std::int64_t inputs;
  std::int64_t outputs;
  test::QuantizedCase weight;
  std::vector<float> x;
  std::vector<float> bias;
};

/// A block of a token as docs/MODEL_FILE.md rounds it.
struct Rounded {
  Rounded(const Case& of, std::int64_t token, std::int64_t block)
      : first(block * of.weight.view().block_size),
        end(std::min(first + of.weight.view().block_size, of.inputs)) {
    const auto* row = of.x.data() + token * of.inputs;
    float largest = 1e-30F;
    for (std::int64_t i = first; i < end; ++i) {
      largest = std::max(largest, std::abs(row[i]));
    }
    for (std::int64_t i = first; i < end; ++i) {
      values.push_back(static_cast<int>(std::nearbyint(row[i] * (127.0F / largest))));
    }
    scale = largest / 127.0F;
  }

  std::int64_t first;
  std::int64_t end;
  std::vector<int> values;
  float scale = 0;
};

class QuantizedProducts : public test::OnInstructionSet {};

TEST_P(QuantizedProducts, InInt8AreExactWithinABlock) {
  test::for_random_cases(30, [](Random& random) {
    const Case of(random);
    const std::vector<float> found = of.product(AccuracyLevel::int8);
    for (std::int64_t token = 0; token < of.tokens; ++token) {
      std::vector<Rounded> blocks;
      for (std::int64_t block = 0; block < of.weight.view().blocks(); ++block) {
        blocks.emplace_back(of, token, block);
      }
      for (std::int64_t output = 0; output < of.outputs; ++output) {
        double expected = of.bias[index(output)];
        double magnitude = std::abs(expected);
        double unrounded = expected;
        double largest_error = 0;
        for (std::size_t block = 0; block < blocks.size(); ++block) {
          const Rounded& part = blocks[block];
          const double scale = of.weight.scale(static_cast<std::int64_t>(block), output);
          const double minimum = of.weight.minimum(static_cast<std::int64_t>(block), output);
          std::int64_t sum = 0;
          std::int64_t sum_of_x = 0;
          for (std::int64_t i = part.first; i < part.end; ++i) {
            const int value = of.weight.value(i, output);
            sum += std::int64_t{part.values[index(i - part.first)]} * value;
            sum_of_x += part.values[index(i - part.first)];
            unrounded += (scale * value + minimum) * of.x[index(token * of.inputs + i)];
            largest_error += 0.5001 * part.scale * std::abs(value * scale + minimum);
          }
          for (const double term : {scale * part.scale * static_cast<double>(sum),
                                    minimum * part.scale * static_cast<double>(sum_of_x)}) {
            expected += term;
            magnitude += std::abs(term);
          }
        }
        // Each block rounds its two scales' product and the sum so far, each by 2⁻²⁴ of at most the
        // magnitude, and the same with its minimum; then comes the bias.
        const auto sums =
            static_cast<double>(blocks.size()) * static_cast<double>(of.weight.view().scale_rows());
        const double tolerance = std::ldexp(1.0, -24) * magnitude * (2.0 + sums);
        const double result = found[index(token * of.outputs + output)];
        ASSERT_NEAR(result, expected, tolerance)
            << "token " << token << " of " << of.tokens << ", output " << output << " of "
            << of.outputs << ", " << of.inputs << " inputs, " << of.weight.view().bits << " bits";
        // No element was rounded by more than half a step.
        ASSERT_NEAR(result, unrounded, largest_error + tolerance);
      }
    }
  });
}

TEST_P(QuantizedProducts, InFloat32AgreeWithDoublePrecision) {
  test::for_random_cases(30, [](Random& random) {
    const Case of(random);
    const std::vector<float> found = of.product(AccuracyLevel::float32);
    for (std::int64_t token = 0; token < of.tokens; ++token) {
      for (std::int64_t output = 0; output < of.outputs; ++output) {
        double expected = of.bias[index(output)];
        double magnitude = std::abs(expected);
        for (std::int64_t i = 0; i < of.inputs; ++i) {
          const double term = of.x[index(token * of.inputs + i)] * of.weight.at(i, output);
          expected += term;
          magnitude += std::abs(term);
        }
        ASSERT_NEAR(found[index(token * of.outputs + output)], expected,
                    std::ldexp(1.0, -24) * magnitude * (2.0 + static_cast<double>(of.inputs)))
            << "token " << token << ", output " << output << ", " << of.inputs << " inputs";
      }
    }
  });
}

TEST_P(QuantizedProducts, AddTheResidualLast) {
  test::for_random_cases(10, [](Random& random) {
    const Case of(random);
    const std::vector<float> residual = normal_floats(random, of.tokens * of.outputs);
    for (const Activation activation : {Activation::none, Activation::gelu_tanh}) {
      std::vector<float> expected;
      std::vector<float> found;
      QuantizedLinearArgs args = of.args(expected, AccuracyLevel::int8);
      args.activation = activation;
      quantized_linear_cpu(args, test::ThreeThreads());
      args.out = (found = expected).data();
      args.residual = residual.data();
      quantized_linear_cpu(args, test::ThreeThreads());
      std::ranges::transform(expected, residual, expected.begin(), std::plus<>());
      ASSERT_EQ(found, expected);
    }
  });
}

TEST_P(QuantizedProducts, WithoutABiasHaveActivationAndResidualAllTheSame) {
  test::for_random_cases(10, [](Random& random) {
    const Case of(random);
    const std::vector<float> residual = normal_floats(random, of.tokens * of.outputs);
    const std::vector<float> zeros(of.bias.size());
    for (const Activation activation : {Activation::none, Activation::gelu_tanh}) {
      for (const AccuracyLevel accuracy : {AccuracyLevel::int8, AccuracyLevel::float32}) {
        for (const float* added : {residual.data(), static_cast<const float*>(nullptr)}) {
          std::vector<float> expected;
          std::vector<float> found;
          QuantizedLinearArgs args = of.args(expected, accuracy);
          args.bias = zeros.data();
          args.activation = activation;
          args.residual = added;
          quantized_linear_cpu(args, test::ThreeThreads());
          args.out = (found = expected).data();
          args.bias = nullptr;
          quantized_linear_cpu(args, test::ThreeThreads());
          ASSERT_EQ(found, expected);
        }
      }
    }
  });
}

/// A gate is the product of its two matrices' own products, wherever their panels lie: bit for bit
/// where nothing rounds twice, which the activation function of float32 does not.
TEST_P(QuantizedProducts, OfAGateAreThoseOfItsMatrices) {
  test::for_random_cases(20, [](Random& random) {
    const Case gate(random);
    const std::int64_t bits = gate.weight.view().bits;
    const std::int64_t panels = gate.weight.view().panels();
    std::vector<std::uint8_t> values;
    std::vector<Float16> scales;
    // Up is the gate's matrix with its values turned around the zero point.
    const QuantizedWeight& view = gate.weight.view();
    std::vector<std::uint8_t> turned(view.values, view.values + panels * view.panel_bytes());
    for (std::uint8_t& byte : turned) {
      byte = static_cast<std::uint8_t>(~byte);
    }
    const std::int64_t panel_scales = view.panel_scales();
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      const auto* const own = view.values + panel * view.panel_bytes();
      values.insert(values.end(), own, own + view.panel_bytes());
      const auto up = turned.begin() + panel * view.panel_bytes();
      values.insert(values.end(), up, up + view.panel_bytes());
      for (int matrix = 0; matrix < 2; ++matrix) {
        const Float16* const first = view.scales + panel * panel_scales;
        scales.insert(scales.end(), first, first + panel_scales);
      }
    }
    const std::vector<float> up_bias = normal_floats(random, gate.outputs);
    std::vector<float> biases = gate.bias;
    biases.insert(biases.end(), up_bias.begin(), up_bias.end());
    for (const AccuracyLevel accuracy : {AccuracyLevel::int8, AccuracyLevel::float32}) {
      std::vector<float> opened;
      QuantizedLinearArgs args = gate.args(opened, accuracy);
      args.activation = Activation::silu;
      quantized_linear_cpu(args, test::ThreeThreads());
      std::vector<float> up;
      args = gate.args(up, accuracy);
      args.weight.values = turned.data();
      args.bias = up_bias.data();
      quantized_linear_cpu(args, test::ThreeThreads());
      std::vector<float> found;
      args = gate.args(found, accuracy);
      args.weight.values = values.data();
      args.weight.scales = scales.data();
      args.weight.matrices = 2;
      args.bias = biases.data();
      args.activation = Activation::silu;
      quantized_linear_cpu(args, test::ThreeThreads());
      for (std::size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(found[i], opened[i] * up[i]) << "element " << i << ", " << bits << " bits";
      }
    }
  });
}

TEST_P(QuantizedProducts, OfATokenAreTheSameBitsWithAnyOtherTokensAndThreads) {
  test::for_random_cases(40, [](Random& random) {
    const Case of(random);
    const std::vector<float> expected = of.product(AccuracyLevel::int8);
    std::vector<float> found;
    QuantizedLinearArgs args = of.args(found, AccuracyLevel::int8);
    quantized_linear_cpu(args, test::Serial());
    ASSERT_EQ(found, expected);
    std::ranges::fill(found, 0.0F);
    for (std::int64_t first = 0; first < of.tokens; first += args.tokens) {
      args.tokens = std::min(random.integer(1, 13), of.tokens - first);
      args.x = of.x.data() + first * of.inputs;
      args.out = found.data() + first * of.outputs;
      quantized_linear_cpu(args, test::Serial());
    }
    ASSERT_EQ(found, expected);
  });
}

TEST_P(QuantizedProducts, KeepNaNAndInfinityWithinTheirToken) {
  test::for_random_cases(40, [](Random& random) {
    Case of(random);
    const std::vector<float> expected = of.product(AccuracyLevel::int8);
    const std::int64_t bad = random.integer(0, of.tokens - 1);
    of.x[index(bad * of.inputs + random.integer(0, of.inputs - 1))] =
        random.chance(0.5) ? std::numeric_limits<float>::quiet_NaN()
                           : -std::numeric_limits<float>::infinity();
    const std::vector<float> found = of.product(AccuracyLevel::int8);
    for (std::int64_t i = 0; i < of.tokens * of.outputs; ++i) {
      if (i / of.outputs == bad) {
        ASSERT_FALSE(std::isfinite(found[index(i)]));
      } else {
        ASSERT_EQ(found[index(i)], expected[index(i)]);
      }
    }
  });
}

TEST_P(QuantizedProducts, OfZerosAreTheBias) {
  test::for_random_cases(10, [](Random& random) {
    Case of(random);
    std::ranges::fill(of.x, 0.0F);
    const std::vector<float> found = of.product(AccuracyLevel::int8);
    for (std::int64_t i = 0; i < of.tokens * of.outputs; ++i) {
      ASSERT_EQ(found[index(i)], of.bias[index(i % of.outputs)]);
    }
  });
}

TEST_P(QuantizedProducts, WithoutBiasAndWithGelu) {
  test::for_random_cases(20, [](Random& random) {
    Case of(random);
    const std::vector<float> with_bias = of.product(AccuracyLevel::int8);
    std::vector<float> found;
    QuantizedLinearArgs args = of.args(found, AccuracyLevel::int8);
    args.activation = Activation::gelu_tanh;
    quantized_linear_cpu(args, test::ThreeThreads());
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double x = with_bias[i];
      const double gelu =
          0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      ASSERT_NEAR(found[i], gelu, 1e-6 * (1 + std::abs(x)));
    }
    of.bias.assign(of.bias.size(), 0.0F);
    const std::vector<float> expected = of.product(AccuracyLevel::int8);
    args = of.args(found, AccuracyLevel::int8);
    args.bias = nullptr;
    quantized_linear_cpu(args, test::ThreeThreads());
    ASSERT_EQ(found, expected);
  });
}

// Not test::all_instruction_sets(), which other tests share: theirs lack AVX3_DL.
INSTANTIATE_TEST_SUITE_P(Targets, QuantizedProducts,
                         test::with_and_without_amx(hwy::SupportedAndGeneratedTargets()),
                         test::instruction_set_name);

TEST(QuantizedRow, IsAnOutputOfTheWeight) {
  test::for_random_cases(30, [](Random& random) {
    const Case of(random);
    const std::int64_t output = random.integer(0, of.outputs - 1);
    std::vector<float> row(index(of.inputs), std::numeric_limits<float>::quiet_NaN());
    quantized_row_cpu(of.weight.view(), output, row.data());
    for (std::int64_t i = 0; i < of.inputs; ++i) {
      // Exact, a product of 8 and 11 bits, but for the minimum's addition, which rounds once.
      ASSERT_EQ(row[index(i)], static_cast<float>(of.weight.at(i, output)))
          << "input " << i << ", output " << output;
    }
  });
}

}  // namespace
}  // namespace kvcache::kernels
