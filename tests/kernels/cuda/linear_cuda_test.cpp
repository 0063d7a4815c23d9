// Products, norms and the embedding on CUDA against double precision.
#include "kernels/cuda/linear_cuda.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/cuda/embedding_cuda.hpp"
#include "kernels/cuda/matrix_product.hpp"
#include "support/element_types.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::DeviceArray;
using test::kError;
using test::normalized;
using test::Random;
using test::random_values;
using test::rounded;
using test::wide;

constexpr std::int64_t kAnyInputs[] = {1, 7, 16, 40, 64, 768, 1000, 1280, 3072, 4100};

/// A product with everything around it, and what it must give.
template <typename T>
struct LinearCase {
  explicit LinearCase(Random& random, std::span<const std::int64_t> sizes = kAnyInputs,
                      std::int64_t most_tokens = 20, std::int64_t most_outputs = 200,
                      std::int64_t output_step = 1) {
    inputs = random.pick(sizes);
    outputs = random.integer(1, most_outputs / output_step) * output_step;
    tokens = random.integer(1, most_tokens);
    norm = random.chance(0.5);
    gelu = random.chance(0.5);
    with_residual = random.chance(0.5);
    x = random_values<T>(random, tokens * inputs, 1, random.chance(0.3) ? 3 : 0);
    norm_weight = random_values<T>(random, inputs, 1);
    is_rms = random.chance(0.3);
    norm_bias = random_values<T>(random, is_rms || random.chance(0.2) ? 0 : inputs, 0.1);
    const double scale = 1 / std::sqrt(static_cast<double>(inputs));
    weight = random_values<T>(random, (outputs + 63) / 64 * inputs * 64, scale);
    bias = random_values<T>(random, random.chance(0.3) ? 0 : outputs, 0.1);
    residual = random_values<T>(random, tokens * outputs, 1);
    out.assign(static_cast<std::size_t>(tokens * outputs),
               rounded<T>(std::numeric_limits<double>::quiet_NaN()));
  }

  template <typename Run>
  void run(const Run& run_on_device) {
    const DeviceArray<T> d_x(x);
    const DeviceArray<T> d_norm_weight(norm_weight);
    const DeviceArray<T> d_norm_bias(norm_bias);
    const DeviceArray<T> d_weight(weight);
    const DeviceArray<T> d_bias(bias);
    const DeviceArray<T> d_residual(residual);
    const DeviceArray<T> d_out(out);
    LinearCudaArgs<T> args;
    args.x = d_x.data();
    if (norm) {
      args.norm = {d_norm_weight.data(), norm_bias.empty() ? nullptr : d_norm_bias.data(), 1e-5F,
                   is_rms};
    }
    args.weight = d_weight.data();
    args.bias = bias.empty() ? nullptr : d_bias.data();
    args.residual = with_residual ? d_residual.data() : nullptr;
    args.out = d_out.data();
    args.tokens = tokens;
    args.inputs = inputs;
    args.outputs = outputs;
    args.gelu = gelu;
    run_on_device(args);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    out = d_out.to_host();
  }

  /// The largest error, relative to the sum of the magnitudes that went into a result.
  [[nodiscard]] double largest_error() const {
    const std::vector<double> from =
        normalized(x, norm_weight, norm_bias, inputs, norm, 1e-5, is_rms);
    double largest = 0;
    for (std::int64_t token = 0; token < tokens; ++token) {
      for (std::int64_t column = 0; column < outputs; ++column) {
        double sum = bias.empty() ? 0 : wide(bias[static_cast<std::size_t>(column)]);
        double magnitude = 1 + std::abs(sum);
        for (std::int64_t i = 0; i < inputs; ++i) {
          const auto at = static_cast<std::size_t>((column / 64 * inputs + i) * 64 + column % 64);
          const double product =
              from[static_cast<std::size_t>(token * inputs + i)] * wide(weight[at]);
          sum += product;
          magnitude += std::abs(product);
        }
        if (gelu) {
          sum =
              0.5 * sum * (1 + std::tanh(std::sqrt(2 / M_PI) * (sum + 0.044715 * sum * sum * sum)));
        }
        const auto at = static_cast<std::size_t>(token * outputs + column);
        if (with_residual) {
          sum += wide(residual[at]);
          magnitude += std::abs(wide(residual[at]));
        }
        const double error = std::abs(wide(out[at]) - sum) / magnitude;
        largest =
            std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(largest, error);
      }
    }
    return largest;
  }

  std::int64_t inputs;
  std::int64_t outputs;
  std::int64_t tokens;
  bool norm;
  bool is_rms;
  bool gelu;
  bool with_residual;
  std::vector<T> x, norm_weight, norm_bias, weight, bias, residual, out;
};

template <typename T>
class LinearOnCuda : public test::OnGpu {};
using Types = testing::Types<float, __half, __nv_bfloat16>;
TYPED_TEST_SUITE(LinearOnCuda, Types);

TYPED_TEST(LinearOnCuda, FewRowsAgreeWithDoublePrecision) {
  using T = TypeParam;
  test::for_random_cases(60, [](Random& random) {
    LinearCase<T> linear(random);
    linear.tokens = random.chance(0.4) ? 1 : linear.tokens;
    linear.x.resize(static_cast<std::size_t>(linear.tokens * linear.inputs));
    linear.run([](const LinearCudaArgs<T>& args) {
      ASSERT_TRUE(few_rows_fit(args.tokens, args.inputs));
      ASSERT_EQ(linear_few_rows(args, nullptr), cudaSuccess);
    });
    EXPECT_LE(linear.largest_error(), kError<T>) << linear.tokens << " x " << linear.inputs;
  });
}

template <typename T>
constexpr cudaDataType kProductType = CUDA_R_32F;
template <>
constexpr cudaDataType kProductType<__half> = CUDA_R_16F;
template <>
constexpr cudaDataType kProductType<__nv_bfloat16> = CUDA_R_16BF;

// The normalized input and the plain product are rounded on the way: three roundings.
TYPED_TEST(LinearOnCuda, ManyRowsAgreeWithDoublePrecision) {
  using T = TypeParam;
  MatrixProduct product;
  test::for_random_cases(60, [&](Random& random) {
    LinearCase<T> linear(random);
    linear.run([&](const LinearCudaArgs<T>& args) {
      const DeviceArray<T> staged(linear.x);
      const T* x = args.x;
      if (args.norm.weight != nullptr) {
        ASSERT_EQ(
            norm_rows<T>(x, nullptr, args.norm, args.tokens, args.inputs, staged.data(), nullptr),
            cudaSuccess);
        x = staged.data();
      }
      if (!product.with_panels(kProductType<T>, x, args.weight,
                               {args.bias, args.residual, args.gelu}, args.out, args.tokens,
                               args.inputs, args.outputs, nullptr)) {
        ASSERT_EQ(linear_epilogue(args, nullptr), cudaSuccess);
      }
    });
    EXPECT_LE(linear.largest_error(), 3 * kError<T>) << linear.tokens << " x " << linear.inputs;
  });
}

template <typename T>
class LinearOnTensorCores : public test::OnGpu {};
using ShortTypes = testing::Types<__half, __nv_bfloat16>;
TYPED_TEST_SUITE(LinearOnTensorCores, ShortTypes);

/// The NaN that a GPU's arithmetic gives: all bits but the sign.
template <typename T>
T arithmetic_nan() {
  std::array<std::byte, sizeof(T)> bytes;
  bytes.fill(std::byte{0xFF});
  bytes.back() = std::byte{0x7F};
  T nan;
  std::memcpy(static_cast<void*>(&nan), bytes.data(), bytes.size());
  return nan;
}

/// Expects NaN in one token's results, [tokens, size], and the same bits as before in the others.
template <typename T>
void expect_nan_of(std::int64_t token, std::int64_t size, const std::vector<T>& found,
                   const std::vector<T>& before) {
  ASSERT_EQ(found.size(), before.size());
  const auto begin = static_cast<std::size_t>(token * size);
  const auto end = begin + static_cast<std::size_t>(size);
  for (std::size_t i = begin; i < end; ++i) {
    ASSERT_TRUE(std::isnan(wide(found[i]))) << "output " << i - begin << " is " << wide(found[i]);
  }
  EXPECT_EQ(std::memcmp(found.data(), before.data(), begin * sizeof(T)), 0);
  EXPECT_EQ(std::memcmp(found.data() + end, before.data() + end, (before.size() - end) * sizeof(T)),
            0);
}

/// One rounding, and the same bits each time; a token's NaN is in all of its results and no others.
template <typename T, typename Run>
void expect_right_twice(LinearCase<T>& linear, const Run& run) {
  std::vector<T> first;
  for (int time = 0; time < 2; ++time) {
    linear.run(run);
    EXPECT_LE(linear.largest_error(), kError<T>) << linear.tokens << " x " << linear.inputs;
    if (time == 0) {
      first = linear.out;
    } else {
      EXPECT_EQ(std::memcmp(first.data(), linear.out.data(), first.size() * sizeof(T)), 0);
    }
  }
  const std::int64_t token = linear.tokens / 2;
  const auto at = static_cast<std::size_t>(token * linear.inputs + linear.inputs / 3);
  const T number = std::exchange(linear.x[at], arithmetic_nan<T>());
  linear.run(run);
  expect_nan_of(token, linear.outputs, linear.out, first);
  linear.x[at] = number;
  linear.out = first;
}

constexpr std::int64_t kWarpgroupInputs[] = {64, 128, 192, 576, 768, 1280, 2048, 3072};
constexpr int kAnyMultiprocessors = 132;

// What is normalized is so before, and exact here: one rounding. The same each time.
TYPED_TEST(LinearOnTensorCores, WarpgroupsAgreeWithDoublePrecision) {
  using T = TypeParam;
  test::for_random_cases(120, [](Random& random) {
    const bool many = random.chance(0.3);  // columns, and few inputs: large tiles
    LinearCase<T> linear(random, std::span(kWarpgroupInputs).first(many ? 2 : 8),
                         random.pick(std::vector<std::int64_t>{16, 70, 300}), many ? 6000 : 300, 8);
    linear.norm = false;
    SCOPED_TRACE(linear.outputs);
    expect_right_twice(linear, [](const LinearCudaArgs<T>& args) {
      ASSERT_TRUE(linear_warpgroups_fit(args));
      ASSERT_EQ(linear_by_warpgroup(args, kAnyMultiprocessors, nullptr), cudaSuccess);
    });
  });
}

class SplitProducts : public test::OnGpu {};

constexpr std::int64_t kSplitInputs[] = {16, 48, 64, 128, 576, 768, 1008, 1280, 3072};

// Nearer than what is asked of float32 arithmetic: a product of the three that is left out would
// show (2⁻¹² of each), and sums that the tensor cores cut off.
constexpr double kSplitError = kError<float> / 8;

TEST_F(SplitProducts, AgreeWithDoublePrecision) {
  test::for_random_cases(120, [](Random& random) {
    const bool many = random.chance(0.3);
    LinearCase<float> linear(random, std::span(kSplitInputs).first(many ? 4 : 9),
                             random.pick(std::vector<std::int64_t>{8, 16, 70, 300}),
                             many ? 6000 : 300, 4);
    linear.norm = false;
    SCOPED_TRACE(linear.outputs);
    expect_right_twice(linear, [](const LinearCudaArgs<float>& args) {
      ASSERT_TRUE(linear_split_fits(args.tokens, args.inputs, args.outputs));
      ASSERT_EQ(linear_split(args, kAnyMultiprocessors, nullptr), cudaSuccess);
    });
    EXPECT_LE(linear.largest_error(), kSplitError);
  });
}

TEST_F(SplitProducts, RefuseWhatTheyDoNotTake) {
  EXPECT_FALSE(linear_split_fits(8, 40, 64));          // inputs that are no chunks
  EXPECT_FALSE(linear_split_fits(8, 64, 66));          // outputs that are no fours
  EXPECT_FALSE(linear_split_fits(1 << 20, 4096, 64));  // more inputs than 32 bits count
  EXPECT_TRUE(head_split_fits(8, 64, 66));
}

TYPED_TEST(LinearOnTensorCores, GatesOfWarpgroupsAgreeWithDoublePrecision) {
  using T = TypeParam;
  test::for_random_cases(60, [](Random& random) {
    const bool many = random.chance(0.3);
    const std::int64_t inputs = random.pick(std::span(kWarpgroupInputs).first(many ? 2 : 8));
    const std::int64_t outputs = random.integer(1, many ? 700 : 30) * 8;
    const std::int64_t tokens = random.integer(1, random.pick(std::vector<std::int64_t>{16, 200}));
    const bool silu = random.chance(0.5);
    const std::int64_t panels = (outputs + 63) / 64;
    const auto x = random_values<T>(random, tokens * inputs, 1);
    const auto weight = random_values<T>(random, 2 * panels * inputs * 64,
                                         1 / std::sqrt(static_cast<double>(inputs)));
    const auto bias = random_values<T>(random, random.chance(0.5) ? 0 : 2 * outputs, 0.1);
    const DeviceArray<T> d_x(x);
    const DeviceArray<T> d_weight(weight);
    const DeviceArray<T> d_bias(bias);
    const DeviceArray<T> d_out(
        std::vector<T>(static_cast<std::size_t>(tokens * outputs), rounded<T>(std::nan(""))));
    GatedLinearCudaArgs<T> args;
    args.product.x = d_x.data();
    args.product.weight = d_weight.data();
    args.product.bias = bias.empty() ? nullptr : d_bias.data();
    args.product.out = d_out.data();
    args.product.tokens = tokens;
    args.product.inputs = inputs;
    args.product.outputs = outputs;
    args.activation = silu ? Activation::silu : Activation::gelu_tanh;
    ASSERT_TRUE(linear_warpgroups_fit(args));
    ASSERT_EQ(linear_by_warpgroup(args, kAnyMultiprocessors, nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const std::vector<T> found = d_out.to_host();
    double largest = 0;
    for (std::int64_t token = 0; token < tokens; ++token) {
      for (std::int64_t column = 0; column < outputs; ++column) {
        double sums[2];
        double magnitudes[2];
        for (std::int64_t m = 0; m < 2; ++m) {
          sums[m] = bias.empty() ? 0 : wide(bias[static_cast<std::size_t>(m * outputs + column)]);
          magnitudes[m] = 1 + std::abs(sums[m]);
          for (std::int64_t i = 0; i < inputs; ++i) {
            const double product = wide(x[static_cast<std::size_t>(token * inputs + i)]) *
                                   wide(weight[static_cast<std::size_t>(
                                       ((column / 64 * 2 + m) * inputs + i) * 64 + column % 64)]);
            sums[m] += product;
            magnitudes[m] += std::abs(product);
          }
        }
        const double inner =
            silu ? sums[0]
                 : 2 * std::sqrt(2 / M_PI) * (sums[0] + 0.044715 * sums[0] * sums[0] * sums[0]);
        const double expected = sums[0] / (1 + std::exp(-inner)) * sums[1];
        const double error =
            std::abs(wide(found[static_cast<std::size_t>(token * outputs + column)]) - expected) /
            (magnitudes[0] * magnitudes[1]);
        largest =
            std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(largest, error);
      }
    }
    EXPECT_LE(largest, kError<T>) << tokens << " x " << inputs << " x " << outputs;
  });
}

// What the kernel does not take is said, not tried.
TYPED_TEST(LinearOnTensorCores, WarpgroupsTakeWholeVectors) {
  using T = TypeParam;
  LinearCudaArgs<T> args;
  args.tokens = 3;
  args.inputs = 128;
  args.outputs = 40;
  EXPECT_TRUE(linear_warpgroups_fit(args));
  args.outputs = 44;
  EXPECT_FALSE(linear_warpgroups_fit(args));
  args.outputs = 40;
  args.inputs = 96;
  EXPECT_FALSE(linear_warpgroups_fit(args));
  args.inputs = 128;
  EXPECT_FALSE(linear_warpgroups_fit(GatedLinearCudaArgs<T>{args, Activation::gelu_erf}));
}

TYPED_TEST(LinearOnCuda, HeadAgreesWithDoublePrecision) {
  using T = TypeParam;
  test::for_random_cases(40, [](Random& random) {
    constexpr std::int64_t kInputs[] = {1, 12, 27, 64, 768, 1024, 1600, 2048};
    const std::int64_t inputs = random.pick(std::span(kInputs));
    const std::int64_t outputs = random.integer(1, 300);
    const std::int64_t all = random.integer(1, 12);
    const bool choose = random.chance(0.5);
    std::vector<std::int64_t> positions;
    for (std::int64_t i = 0; choose && i < random.integer(1, 9); ++i) {
      positions.push_back(random.integer(0, all - 1));
    }
    const std::int64_t tokens =
        positions.empty() ? all : static_cast<std::int64_t>(positions.size());
    const auto x = random_values<T>(random, all * inputs, 1);
    const auto norm_weight = random_values<T>(random, inputs, 1);
    const auto norm_bias = random_values<T>(random, inputs, 0.1);
    const auto weight =
        random_values<T>(random, outputs * inputs, 1 / std::sqrt(static_cast<double>(inputs)));
    const DeviceArray<T> d_x(x);
    const DeviceArray<T> d_norm_weight(norm_weight);
    const DeviceArray<T> d_norm_bias(norm_bias);
    const DeviceArray<T> d_weight(weight);
    const DeviceArray<std::int64_t> d_positions(positions);
    const DeviceArray<T> d_out(
        std::vector<T>(static_cast<std::size_t>(tokens * outputs), rounded<T>(std::nan(""))));
    HeadCudaArgs<T> args;
    args.x = d_x.data();
    args.positions = positions.empty() ? nullptr : d_positions.data();
    args.norm = {d_norm_weight.data(), d_norm_bias.data(), 1e-5F};
    args.weight = d_weight.data();
    args.out = d_out.data();
    args.tokens = tokens;
    args.inputs = inputs;
    args.outputs = outputs;
    ASSERT_EQ(head_few_rows(args, 3, nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const std::vector<T> found = d_out.to_host();
    const std::vector<double> from = normalized(x, norm_weight, norm_bias, inputs, true, 1e-5);
    double largest = 0;
    for (std::int64_t token = 0; token < tokens; ++token) {
      const std::int64_t row =
          positions.empty() ? token : positions[static_cast<std::size_t>(token)];
      for (std::int64_t output = 0; output < outputs; ++output) {
        double sum = 0;
        double magnitude = 1;
        for (std::int64_t i = 0; i < inputs; ++i) {
          const double product = from[static_cast<std::size_t>(row * inputs + i)] *
                                 wide(weight[static_cast<std::size_t>(output * inputs + i)]);
          sum += product;
          magnitude += std::abs(product);
        }
        const double error =
            std::abs(wide(found[static_cast<std::size_t>(token * outputs + output)]) - sum) /
            magnitude;
        ASSERT_FALSE(std::isnan(error));
        largest = std::max(largest, error);
      }
    }
    EXPECT_LE(largest, kError<T>) << tokens << " x " << inputs;
  });
}

/// What `run` makes of some tokens' logits; a token's NaN is in all of its logits and no others.
template <typename T, typename Run>
void expect_logits(Random& random, std::int64_t inputs, std::int64_t tokens, const Run& run,
                   double most = kError<T>) {
  const std::int64_t outputs = random.integer(1, 1000);
  auto x = random_values<T>(random, tokens * inputs, 1);
  const auto weight =
      random_values<T>(random, outputs * inputs, 1 / std::sqrt(static_cast<double>(inputs)));
  const DeviceArray<T> d_x(x);
  const DeviceArray<T> d_weight(weight);
  const DeviceArray<T> d_out(
      std::vector<T>(static_cast<std::size_t>(tokens * outputs), rounded<T>(std::nan(""))));
  HeadCudaArgs<T> args;
  args.x = d_x.data();
  args.weight = d_weight.data();
  args.out = d_out.data();
  args.tokens = tokens;
  args.inputs = inputs;
  args.outputs = outputs;
  run(args);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<T> found = d_out.to_host();
  double largest = 0;
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t output = 0; output < outputs; ++output) {
      double sum = 0;
      double magnitude = 1;
      for (std::int64_t i = 0; i < inputs; ++i) {
        const double product = wide(x[static_cast<std::size_t>(token * inputs + i)]) *
                               wide(weight[static_cast<std::size_t>(output * inputs + i)]);
        sum += product;
        magnitude += std::abs(product);
      }
      const double error =
          std::abs(wide(found[static_cast<std::size_t>(token * outputs + output)]) - sum) /
          magnitude;
      ASSERT_FALSE(std::isnan(error));
      largest = std::max(largest, error);
    }
  }
  EXPECT_LE(largest, most) << tokens << " x " << inputs << " x " << outputs;
  const std::int64_t token = tokens / 2;
  x[static_cast<std::size_t>(token * inputs + inputs / 3)] = arithmetic_nan<T>();
  const DeviceArray<T> d_with_nan(x);
  args.x = d_with_nan.data();
  run(args);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  expect_nan_of(token, outputs, d_out.to_host(), found);
}

TYPED_TEST(LinearOnTensorCores, HeadAgreesWithDoublePrecision) {
  using T = TypeParam;
  test::for_random_cases(40, [](Random& random) {
    expect_logits<T>(random, 128 * random.integer(1, 6), random.integer(1, 64),
                     [&](const HeadCudaArgs<T>& args) {
                       ASSERT_TRUE(head_some_rows_fit(args.tokens, args.inputs));
                       ASSERT_EQ(
                           head_some_rows(args, static_cast<int>(random.integer(1, 20)), nullptr),
                           cudaSuccess);
                     });
  });
}

TYPED_TEST(LinearOnTensorCores, HeadOfWarpgroupsAgreesWithDoublePrecision) {
  using T = TypeParam;
  test::for_random_cases(40, [](Random& random) {
    expect_logits<T>(random, 64 * random.integer(1, 12), random.integer(1, 200),
                     [](const HeadCudaArgs<T>& args) {
                       ASSERT_TRUE(head_warpgroups_fit(args));
                       ASSERT_EQ(head_by_warpgroup(args, kAnyMultiprocessors, nullptr),
                                 cudaSuccess);
                     });
  });
}

TEST_F(SplitProducts, HeadAgreesWithDoublePrecision) {
  test::for_random_cases(40, [](Random& random) {
    expect_logits<float>(
        random, 16 * random.integer(1, 60),
        random.integer(1, random.pick(std::vector<std::int64_t>{8, 16, 200})),
        [](const HeadCudaArgs<float>& args) {
          ASSERT_TRUE(head_split_fits(args.tokens, args.inputs, args.outputs));
          ASSERT_EQ(head_split(args, kAnyMultiprocessors, nullptr), cudaSuccess);
        },
        kSplitError);
  });
}

TYPED_TEST(LinearOnCuda, EmbeddingAddsRowsAndMarksWrongIds) {
  using T = TypeParam;
  Random random(1);
  constexpr std::int64_t kSize = 50;
  const auto token_weight = random_values<T>(random, 10 * kSize, 1);
  const auto position_weight = random_values<T>(random, 5 * kSize, 1);
  const std::vector<std::int64_t> ids{3, 9, 10, 0};
  const std::vector<std::int64_t> positions{4, 0, 1, -1};
  const DeviceArray<T> d_token_weight(token_weight);
  const DeviceArray<T> d_position_weight(position_weight);
  const DeviceArray<std::int64_t> d_ids(ids);
  const DeviceArray<std::int64_t> d_positions(positions);
  const DeviceArray<T> d_out(std::vector<T>(ids.size() * kSize, rounded<T>(0)));
  EmbeddingCudaArgs<T> args;
  args.input_ids = d_ids.data();
  args.position_ids = d_positions.data();
  args.token_weight = d_token_weight.data();
  args.position_weight = d_position_weight.data();
  args.out = d_out.data();
  args.tokens = 4;
  args.size = kSize;
  args.vocab_size = 10;
  args.max_seq_len = 5;
  ASSERT_EQ(token_embedding_cuda(args, nullptr), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<T> found = d_out.to_host();
  for (std::size_t i = 0; i < kSize; ++i) {
    EXPECT_EQ(wide(found[i]), wide(rounded<T>(wide(token_weight[3 * kSize + i]) +
                                              wide(position_weight[4 * kSize + i]))));
    EXPECT_TRUE(std::isnan(wide(found[2 * kSize + i])));
    EXPECT_TRUE(std::isnan(wide(found[3 * kSize + i])));
  }
}

}  // namespace
}  // namespace kvcache::kernels
