// Products with weights of 8 and 4 bits on CUDA, and rows of such a table, against double
// precision.
#include "kernels/cuda/quantized_linear_cuda.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "kernels/cpu/quantized_cpu.hpp"
#include "support/element_types.hpp"
#include "support/gpu.hpp"
#include "support/parallel_for.hpp"
#include "support/product_activations.hpp"
#include "support/quantized_case.hpp"
#include "support/quantized_device.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::DeviceArray;
using test::DeviceWeight;
using test::index;
using test::multiplied;
using test::QuantizedCase;
using test::Random;
using test::random_values;

constexpr std::int64_t kInputs[] = {1, 7, 16, 40, 64, 100, 256, 768, 1000, 2048, 4100, 5000};

/// A product with everything around it, and what it must give.
struct Case {
  explicit Case(Random& random)
      : inputs(random.pick(std::span(kInputs))),
        outputs(random.integer(1, 300)),
        tokens(random.chance(0.4)   ? 1
               : random.chance(0.1) ? random.integer(60, 100)
                                    : random.integer(2, 20)),
        gated(random.chance(0.3)),
        weight(random, inputs, outputs, gated ? 2 : 1),
        accuracy(random.chance(0.5) ? AccuracyLevel::int8 : AccuracyLevel::float32) {
    rows = random.chance(0.3) ? tokens + random.integer(0, 5) : tokens;
    for (std::int64_t i = 0; rows > tokens && i < tokens; ++i) {
      positions.push_back(random.integer(0, rows - 1));
    }
    x = random_values<float>(random, rows * inputs, 1, random.chance(0.3) ? 3 : 0);
    for (float& element : x) {
      element *= random.chance(0.1) ? 30.0F : 1.0F;
    }
    // With int8 accuracy a norm would move elements over the boundaries of rounding.
    norm = accuracy == AccuracyLevel::float32 && random.chance(0.6);
    is_rms = random.chance(0.5);
    norm_weight = random_values<float>(random, inputs, 1);
    norm_bias = random_values<float>(random, is_rms || random.chance(0.2) ? 0 : inputs, 0.1);
    const std::int64_t all_outputs = weight.view().matrices * outputs;
    bias = random_values<float>(random, random.chance(0.3) ? 0 : all_outputs, 0.1);
    residual = random_values<float>(random, gated || random.chance(0.5) ? 0 : tokens * outputs, 1);
    activation = gated ? random.pick(std::span(test::kActivations).subspan(1))
                       : random.pick(std::span(test::kActivations).first(2));
    multiprocessors = random.chance(0.5) ? 132 : static_cast<int>(random.integer(1, 40));
  }

  [[nodiscard]] std::vector<float> run() const {
    const DeviceArray<float> d_x(x);
    const DeviceArray<std::int64_t> d_positions(positions);
    const DeviceArray<float> d_norm_weight(norm_weight);
    const DeviceArray<float> d_norm_bias(norm_bias);
    const DeviceWeight d_weight(weight);
    const DeviceArray<float> d_bias(bias);
    const DeviceArray<float> d_residual(residual);
    const DeviceArray<float> d_out(
        std::vector<float>(index(tokens * outputs), std::numeric_limits<float>::quiet_NaN()));
    QuantizedLinearCudaArgs args;
    args.x = d_x.data();
    args.positions = d_positions.data();
    if (norm) {
      args.norm = {d_norm_weight.data(), d_norm_bias.data(), 1e-5F, is_rms};
    }
    args.weight = d_weight.view();
    args.bias = d_bias.data();
    args.residual = d_residual.data();
    args.out = d_out.data();
    args.tokens = tokens;
    args.activation = activation;
    args.accuracy = accuracy;
    // Memory full of set bits: what nobody wrote must not count.
    const DeviceArray<std::uint8_t> scratch(
        std::vector<std::uint8_t>(quantized_linear_scratch(args), 0xFF));
    EXPECT_EQ(quantized_linear_cuda(args, scratch.data(), multiprocessors, nullptr), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return d_out.to_host();
  }

  /// A token's inputs as they are multiplied.
  [[nodiscard]] std::vector<double> token_inputs(std::int64_t token) const {
    const auto row = x.begin() + (positions.empty() ? token : positions[index(token)]) * inputs;
    const std::vector<float> of_token(row, row + inputs);
    return multiplied(
        test::normalized(of_token, norm_weight, norm_bias, inputs, norm, 1e-5, is_rms),
        weight.view().block_size, accuracy);
  }

  /// One matrix's sum for an output, and the sum of the magnitudes in it.
  struct Sum {
    double value;
    double magnitude;
  };
  [[nodiscard]] Sum sum(const std::vector<double>& from, std::int64_t output,
                        std::int64_t matrix) const {
    Sum sum{bias.empty() ? 0.0 : bias[index(matrix * outputs + output)], 1};
    for (std::int64_t i = 0; i < inputs; ++i) {
      const double product = from[index(i)] * weight.at(i, output, matrix);
      sum.value += product;
      // Minimum and scale are multiplied apart, and may cancel each other out.
      const std::int64_t block = i / weight.view().block_size;
      sum.magnitude +=
          std::abs(from[index(i)]) *
          (std::abs(weight.value(i, output, matrix) * weight.scale(block, output, matrix)) +
           std::abs(weight.minimum(block, output, matrix)));
    }
    return sum;
  }

  /// The largest error, relative to the sum of the magnitudes that went into a result.
  [[nodiscard]] double largest_error(const std::vector<float>& found) const {
    double largest = 0;
    for (std::int64_t token = 0; token < tokens; ++token) {
      const std::vector<double> from = token_inputs(token);
      for (std::int64_t output = 0; output < outputs; ++output) {
        const Sum first = sum(from, output, 0);
        double expected = test::activated(activation, first.value);
        double magnitude = first.magnitude;
        if (gated) {
          const Sum up = sum(from, output, 1);
          magnitude =
              magnitude * (1 + std::abs(up.value)) + up.magnitude * (1 + std::abs(expected));
          expected *= up.value;
        }
        const std::size_t at = index(token * outputs + output);
        if (!residual.empty()) {
          expected += residual[at];
          magnitude += std::abs(static_cast<double>(residual[at]));
        }
        const double error = std::abs(found[at] - expected) / magnitude;
        largest =
            std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(largest, error);
      }
    }
    return largest;
  }

  std::int64_t inputs;
  std::int64_t outputs;
  std::int64_t tokens;
  bool gated;
  QuantizedCase weight;
  AccuracyLevel accuracy;
  std::int64_t rows = 0;  // of x
  std::vector<std::int64_t> positions;
  std::vector<float> x, norm_weight, norm_bias, bias, residual;
  bool norm = false;
  bool is_rms = false;
  Activation activation = Activation::none;
  int multiprocessors = 0;
};

class QuantizedLinearOnCuda : public test::OnGpu {};

TEST_F(QuantizedLinearOnCuda, Float32AccuracyAgreesWithDoublePrecision) {
  test::for_random_cases(150, [](Random& random) {
    Case of(random);
    of.accuracy = AccuracyLevel::float32;
    EXPECT_LE(of.largest_error(of.run()), test::kError<float>)
        << of.tokens << " x " << of.inputs << " x " << of.outputs << ", " << of.weight.view().bits
        << " bits, blocks of " << of.weight.view().block_size;
  });
}

// An element that double precision and float32 round to neighbouring integers moves a result by one
// step of its block, so products of rounded inputs are compared where inputs are integers already.
TEST_F(QuantizedLinearOnCuda, Int8AccuracyAgreesWithDoublePrecision) {
  test::for_random_cases(150, [](Random& random) {
    Case of(random);
    of.accuracy = AccuracyLevel::int8;
    of.norm = false;
    // A block's largest is 127 and all are integers: rounding changes nothing.
    const std::int64_t block_size = of.weight.view().block_size;
    for (std::size_t i = 0; i < of.x.size(); ++i) {
      const std::size_t input = i % index(of.inputs);
      of.x[i] =
          static_cast<float>(input % index(block_size) == 0 ? 127 : random.integer(-127, 127));
    }
    EXPECT_LE(of.largest_error(of.run()), test::kError<float>)
        << of.tokens << " x " << of.inputs << " x " << of.outputs << ", " << of.weight.view().bits
        << " bits, blocks of " << of.weight.view().block_size;
  });
}

TEST_F(QuantizedLinearOnCuda, RoundsInputsAsTheCpuDoes) {
  test::for_random_cases(60, [](Random& random) {
    Case of(random);
    of.accuracy = AccuracyLevel::int8;
    of.norm = false;
    of.gated = false;
    of.weight = QuantizedCase(random, of.inputs, of.outputs);
    of.bias.clear();
    of.residual.clear();
    of.positions.clear();
    of.activation = Activation::none;
    std::vector<float> expected(index(of.tokens * of.outputs));
    quantized_linear_cpu(
        {.x = of.x.data(), .weight = of.weight.view(), .out = expected.data(), .tokens = of.tokens},
        test::Serial());
    const std::vector<float> found = of.run();
    for (std::int64_t token = 0; token < of.tokens; ++token) {
      const std::vector<double> from = of.token_inputs(token);
      for (std::int64_t output = 0; output < of.outputs; ++output) {
        const std::size_t at = index(token * of.outputs + output);
        // Sums of blocks are exact on both; the blocks' are added in other orders.
        ASSERT_NEAR(found[at], expected[at],
                    test::kError<float> * of.sum(from, output, 0).magnitude);
      }
    }
  });
}

TEST_F(QuantizedLinearOnCuda, ATokenIsTheSameEachTime) {
  test::for_random_cases(20, [](Random& random) {
    const Case of(random);
    EXPECT_EQ(of.run(), of.run());
  });
}

TEST_F(QuantizedLinearOnCuda, InputsThatAreNoNumbersMakeResultsThatAreNone) {
  test::for_random_cases(20, [](Random& random) {
    Case of(random);
    of.norm = false;
    of.positions.clear();
    of.activation = of.gated ? Activation::gelu_erf : Activation::none;
    const std::int64_t token = random.integer(0, of.tokens - 1);
    of.x[index(token * of.inputs + random.integer(0, of.inputs - 1))] =
        random.chance(0.5) ? std::numeric_limits<float>::quiet_NaN()
                           : std::numeric_limits<float>::infinity();
    const std::vector<float> found = of.run();
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(std::isnan(found[i]), i / index(of.outputs) == index(token));
    }
  });
}

TEST_F(QuantizedLinearOnCuda, EmbeddingReadsRowsAndMarksWrongIds) {
  test::for_random_cases(40, [](Random& random) {
    const std::int64_t size = random.pick(std::span(kInputs));
    const std::int64_t vocab_size = random.integer(1, 300);
    const QuantizedCase table(random, size, vocab_size);
    const bool has_places = random.chance(0.5);
    const std::int64_t places = 7;
    const auto position_weight = random_values<float>(random, has_places ? places * size : 0, 1);
    std::vector<std::int64_t> ids{-1, vocab_size};
    std::vector<std::int64_t> positions{0, 0};
    for (int i = 0; i < 10; ++i) {
      ids.push_back(random.integer(0, vocab_size - 1));
      positions.push_back(random.integer(0, places - 1));
    }
    ids.push_back(0);
    positions.push_back(places);
    const DeviceWeight d_table(table);
    const DeviceArray<std::int64_t> d_ids(ids);
    const DeviceArray<std::int64_t> d_positions(positions);
    const DeviceArray<float> d_position_weight(position_weight);
    const DeviceArray<float> d_out(std::vector<float>(ids.size() * index(size), 5.0F));
    QuantizedEmbeddingCudaArgs args;
    args.input_ids = d_ids.data();
    args.position_ids = d_positions.data();
    args.weight = d_table.view();
    args.position_weight = has_places ? d_position_weight.data() : nullptr;
    args.out = d_out.data();
    args.tokens = std::ssize(ids);
    args.max_seq_len = places;
    args.scale = random.chance(0.5) ? 1.0F : 8.0F;
    ASSERT_EQ(quantized_embedding_cuda(args, nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const std::vector<float> found = d_out.to_host();
    for (std::size_t token = 0; token < ids.size(); ++token) {
      const bool exists =
          ids[token] >= 0 && ids[token] < vocab_size && (!has_places || positions[token] < places);
      for (std::int64_t i = 0; i < size; ++i) {
        const float one = found[token * index(size) + index(i)];
        if (!exists) {
          ASSERT_TRUE(std::isnan(one));
          continue;
        }
        // The weight is rounded where a minimum is added, the sum once more.
        const double weight = table.at(i, ids[token]) * args.scale;
        const double place = has_places ? position_weight[index(positions[token] * size + i)] : 0.0;
        ASSERT_NEAR(one, weight + place,
                    std::ldexp(std::abs(weight) + std::abs(weight + place), -24));
      }
    }
  });
}

}  // namespace
}  // namespace kvcache::kernels
