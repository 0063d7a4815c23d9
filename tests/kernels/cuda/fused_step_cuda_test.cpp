// Whole decode steps as one kernel against double precision.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/cuda/fused_step.hpp"
#include "plan/cuda/fused_model.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::DeviceArray;
using test::Random;

template <typename T>
double wide(T value) {
  return static_cast<double>(static_cast<float>(value));
}
template <typename T>
double rounded(double value) {
  return wide(T(static_cast<float>(value)));
}

/// A random matrix or vector, on the host and on the device.
template <typename T>
struct Weight {
  Weight(Random& random, std::int64_t count, double scale, double offset = 0)
      : host(values(random, count, scale, offset)), device(host) {}

  static std::vector<T> values(Random& random, std::int64_t count, double scale, double offset) {
    std::vector<T> result(static_cast<std::size_t>(count));
    for (T& value : result) {
      value = T(static_cast<float>(offset + scale * random.normal()));
    }
    return result;
  }
  double operator[](std::int64_t i) const { return wide(host[static_cast<std::size_t>(i)]); }

  std::vector<T> host;
  DeviceArray<T> device;
};

using Doubles = std::vector<double>;

template <typename T>
struct Norm {
  Norm(Random& random, std::int64_t size) : weight(random, size, 1), bias(random, size, 0.1) {}

  [[nodiscard]] NormArgs<T> args() const {
    return {weight.device.data(), bias.device.data(), 1e-5F};
  }

  [[nodiscard]] Doubles of(const Doubles& x) const {
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
    double variance = 0;
    for (const double value : x) {
      variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
    }
    Doubles y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto at = static_cast<std::int64_t>(i);
      y[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[at] + bias[at];
    }
    return y;
  }

  Weight<T> weight;
  Weight<T> bias;
};

/// In panels of 64 columns.
template <typename T>
struct Product {
  Product(Random& random, std::int64_t from, std::int64_t to)
      : inputs(from),
        outputs(to),
        weight(random, (to + 63) / 64 * from * 64, 1 / std::sqrt(static_cast<double>(from))),
        bias(random, to, 0.1),
        out(std::vector<T>(static_cast<std::size_t>(to))) {}

  [[nodiscard]] LinearCudaArgs<T> args(const T* x) const {
    LinearCudaArgs<T> args;
    args.x = x;
    args.weight = weight.device.data();
    args.bias = bias.device.data();
    args.out = out.data();
    args.tokens = 1;
    args.inputs = inputs;
    args.outputs = outputs;
    return args;
  }

  [[nodiscard]] Doubles of(const Doubles& x) const {
    Doubles y(static_cast<std::size_t>(outputs));
    for (std::int64_t column = 0; column < outputs; ++column) {
      double sum = bias[column];
      for (std::int64_t i = 0; i < inputs; ++i) {
        sum +=
            x[static_cast<std::size_t>(i)] * weight[(column / 64 * inputs + i) * 64 + column % 64];
      }
      y[static_cast<std::size_t>(column)] = sum;
    }
    return y;
  }

  std::int64_t inputs;
  std::int64_t outputs;
  Weight<T> weight;
  Weight<T> bias;
  DeviceArray<T> out;
};

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/// A model, a sequence in its cache, and what a step must give.
template <typename T>
class FusedCase {
 public:
  FusedCase(Random& random, std::int64_t layers, std::int64_t heads, std::int64_t inner)
      : heads_(heads),
        hidden_(heads * kFusedHeadDim),
        vocab_size_(random.integer(1, 3000)),
        block_len_(random.pick(std::vector<std::int64_t>{8, 32, 1024})),
        blocks_per_row_((kContext + block_len_ - 1) / block_len_),
        token_(random, vocab_size_ * hidden_, 1, random.chance(0.3) ? 3 : 0),
        position_(random, kContext * hidden_, 0.3),
        last_norm_(random, hidden_),
        embedded_(std::vector<T>(static_cast<std::size_t>(hidden_))),
        logits_(std::vector<T>(static_cast<std::size_t>(vocab_size_))),
        inputs_(std::vector<std::int64_t>(2)),
        table_and_length_(
            std::vector<std::int32_t>(static_cast<std::size_t>(blocks_per_row_ + 1))) {
    table_.resize(static_cast<std::size_t>(blocks_per_row_));
    std::iota(table_.begin(), table_.end(), 0);
    for (std::size_t i = table_.size(); i > 1; --i) {
      std::swap(
          table_[i - 1],
          table_[static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(i) - 1))]);
    }
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      layers_.push_back(std::make_unique<Layer>(random, *this, inner));
    }
  }

  [[nodiscard]] std::int64_t vocab_size() const { return vocab_size_; }

  [[nodiscard]] plan::Plan plan() const {
    model::LayerSpec layer;
    layer.attention.num_heads = static_cast<std::size_t>(heads_);
    layer.attention.num_kv_heads = layer.attention.num_heads;
    layer.attention.head_dim = kFusedHeadDim;
    layer.attention.scale = kScale;
    layer.mlp.inner_size = static_cast<std::size_t>(layers_.front()->expansion.outputs);
    layer.mlp.activation = "gelu_tanh";
    model::DecoderSpec spec;
    spec.hidden_size = static_cast<std::size_t>(hidden_);
    spec.vocab_size = static_cast<std::size_t>(vocab_size_);
    spec.max_seq_len = kContext;
    spec.layers.assign(layers_.size(), layer);
    return plan::make_plan(spec, {});
  }

  /// As the nodes tell them.
  [[nodiscard]] plan::CudaWeights weights() const {
    plan::CudaWeights weights;
    EmbeddingCudaArgs<T> embedding;
    embedding.token_weight = token_.device.data();
    embedding.position_weight = position_.device.data();
    embedding.out = embedded_.data();
    embedding.tokens = 1;
    embedding.size = hidden_;
    embedding.vocab_size = vocab_size_;
    embedding.max_seq_len = kContext;
    weights.nodes.emplace(plan::kEmbeddingNode, embedding);
    for (std::size_t number = 0; number < layers_.size(); ++number) {
      const Layer& layer = *layers_[number];
      const auto tell = [&](const char* role, const LinearCudaArgs<T>& args) {
        weights.nodes.emplace(plan::layer_node(number, role), args);
      };
      auto qkv = layer.qkv.args(embedding.out);
      qkv.norm = layer.first_norm.args();
      tell("attention.qkv", qkv);
      tell("attention.output", layer.projection.args(layer.attention.data()));
      auto expansion = layer.expansion.args(layer.projection.out.data());
      expansion.norm = layer.second_norm.args();
      expansion.gelu = true;
      tell("mlp.up", expansion);
      tell("mlp.down", layer.contraction.args(expansion.out));
    }
    HeadCudaArgs<T> head;
    head.norm = last_norm_.args();
    head.weight = token_.device.data();
    head.out = logits_.data();
    head.tokens = 1;
    head.inputs = hidden_;
    head.outputs = vocab_size_;
    weights.nodes.emplace(plan::kHeadNode, head);
    return weights;
  }

  /// Of a step of one token.
  [[nodiscard]] plan::StepBinding binding() const {
    plan::StepBinding binding;
    binding.input_ids = inputs_.data();
    binding.position_ids = inputs_.data() + 1;
    binding.block_table = table_and_length_.data();
    binding.past_lengths = table_and_length_.data() + blocks_per_row_;
    binding.tokens = 1;
    binding.rows = 1;
    binding.blocks_per_row = blocks_per_row_;
    binding.num_logits = 1;
    for (const auto& layer : layers_) {
      binding.pools.push_back(reinterpret_cast<std::byte*>(layer->keys.data()));
      binding.pools.push_back(reinterpret_cast<std::byte*>(layer->values.data()));
    }
    binding.block_len = block_len_;
    binding.logits = reinterpret_cast<std::byte*>(logits_.data());
    return binding;
  }

  /// Adds random keys and values until the sequence has `length` tokens.
  void grow(Random& random, std::int64_t length) {
    for (const auto& layer : layers_) {
      for (std::int64_t position = length_; position < length; ++position) {
        for (std::int64_t head = 0; head < heads_; ++head) {
          for (std::int64_t e = 0; e < kFusedHeadDim; ++e) {
            const auto at = static_cast<std::size_t>(pool_at(head, position) + e);
            layer->host_keys[at] = T(static_cast<float>(random.normal()));
            layer->host_values[at] = T(static_cast<float>(random.normal()));
          }
        }
      }
      layer->upload();
    }
    length_ = length;
  }

  [[nodiscard]] FusedStepInputs inputs(std::int64_t id) const {
    FusedStepInputs inputs;
    inputs.input_id = id;
    inputs.position_id = length_;
    inputs.past_length = static_cast<std::int32_t>(length_);
    std::ranges::copy(table_, inputs.block_table);
    return inputs;
  }

  /// The logits of one more token, in double precision but for what the cache rounds; the token is
  /// then part of the sequence.
  Doubles expected(std::int64_t id) {
    Doubles x(static_cast<std::size_t>(hidden_));
    for (std::int64_t i = 0; i < hidden_; ++i) {
      x[static_cast<std::size_t>(i)] = token_[id * hidden_ + i] + position_[length_ * hidden_ + i];
    }
    for (const auto& layer : layers_) {
      const Doubles attended = attend(*layer, layer->qkv.of(layer->first_norm.of(x)));
      add(x, layer->projection.of(attended));
      Doubles inner = layer->expansion.of(layer->second_norm.of(x));
      for (double& value : inner) {
        value = gelu(value);
      }
      add(x, layer->contraction.of(inner));
    }
    const Doubles last = last_norm_.of(x);
    Doubles logits(static_cast<std::size_t>(vocab_size_));
    for (std::int64_t row = 0; row < vocab_size_; ++row) {
      for (std::int64_t i = 0; i < hidden_; ++i) {
        logits[static_cast<std::size_t>(row)] +=
            last[static_cast<std::size_t>(i)] * token_[row * hidden_ + i];
      }
    }
    ++length_;
    return logits;
  }

  [[nodiscard]] std::vector<T> logits() const { return logits_.to_host(); }
  [[nodiscard]] void* logits_on_device() const { return logits_.data(); }

  /// The largest difference of the device's cache to the expected one, over all that is in use;
  /// infinite where a position beyond was written.
  [[nodiscard]] double largest_cache_error() const {
    double largest = 0;
    for (const auto& layer : layers_) {
      largest = std::max({largest, cache_error(layer->keys.to_host(), layer->host_keys),
                          cache_error(layer->values.to_host(), layer->host_values)});
    }
    return largest;
  }

  static constexpr std::int64_t kContext = 700;

 private:
  static constexpr float kScale = 0.125F;

  struct Layer {
    Layer(Random& random, const FusedCase& of, std::int64_t inner)
        : first_norm(random, of.hidden_),
          qkv(random, of.hidden_, 3 * of.hidden_),
          projection(random, of.hidden_, of.hidden_),
          second_norm(random, of.hidden_),
          expansion(random, of.hidden_, inner),
          contraction(random, inner, of.hidden_),
          attention(std::vector<T>(static_cast<std::size_t>(of.hidden_))),
          host_keys(static_cast<std::size_t>(of.blocks_per_row_ * of.block_len_ * of.hidden_),
                    T(std::numeric_limits<float>::quiet_NaN())),
          host_values(host_keys),
          keys(host_keys),
          values(host_values) {}

    void upload() const {
      const std::size_t bytes = host_keys.size() * sizeof(T);
      test::check_cuda(cudaMemcpy(keys.data(), host_keys.data(), bytes, cudaMemcpyHostToDevice));
      test::check_cuda(
          cudaMemcpy(values.data(), host_values.data(), bytes, cudaMemcpyHostToDevice));
    }

    Norm<T> first_norm;
    Product<T> qkv;
    Product<T> projection;
    Norm<T> second_norm;
    Product<T> expansion;
    Product<T> contraction;
    DeviceArray<T> attention;
    std::vector<T> host_keys;
    std::vector<T> host_values;
    DeviceArray<T> keys;
    DeviceArray<T> values;
  };

  [[nodiscard]] std::int64_t pool_at(std::int64_t head, std::int64_t position) const {
    const std::int64_t block = table_[static_cast<std::size_t>(position / block_len_)];
    return ((block * heads_ + head) * block_len_ + position % block_len_) * kFusedHeadDim;
  }

  static void add(Doubles& to, const Doubles& what) {
    std::ranges::transform(to, what, to.begin(), std::plus<>());
  }

  Doubles attend(Layer& layer, const Doubles& qkv) {
    Doubles attended(static_cast<std::size_t>(hidden_));
    for (std::int64_t head = 0; head < heads_; ++head) {
      const double* q = qkv.data() + head * kFusedHeadDim;
      for (std::int64_t e = 0; e < kFusedHeadDim; ++e) {
        const auto at = static_cast<std::size_t>(pool_at(head, length_) + e);
        layer.host_keys[at] = T(static_cast<float>(q[hidden_ + e]));
        layer.host_values[at] = T(static_cast<float>(q[2 * hidden_ + e]));
      }
      Doubles scores;
      for (std::int64_t position = 0; position <= length_; ++position) {
        double score = 0;
        for (std::int64_t e = 0; e < kFusedHeadDim; ++e) {
          score +=
              q[e] * wide(layer.host_keys[static_cast<std::size_t>(pool_at(head, position) + e)]);
        }
        scores.push_back(score * kScale);
      }
      const double max = *std::ranges::max_element(scores);
      double sum = 0;
      for (double& score : scores) {
        score = std::exp(score - max);
        sum += score;
      }
      for (std::int64_t position = 0; position <= length_; ++position) {
        for (std::int64_t e = 0; e < kFusedHeadDim; ++e) {
          attended[static_cast<std::size_t>(head * kFusedHeadDim + e)] +=
              scores[static_cast<std::size_t>(position)] / sum *
              wide(layer.host_values[static_cast<std::size_t>(pool_at(head, position) + e)]);
        }
      }
    }
    return attended;
  }

  [[nodiscard]] double cache_error(const std::vector<T>& is, const std::vector<T>& expected) const {
    double largest = 0;
    for (std::size_t i = 0; i < is.size(); ++i) {
      if (std::isnan(wide(expected[i]))) {
        largest = std::isnan(wide(is[i])) ? largest : std::numeric_limits<double>::infinity();
      } else {
        largest = std::max(largest, std::abs(wide(is[i]) - wide(expected[i])));
      }
    }
    return largest;
  }

  std::int64_t heads_;
  std::int64_t hidden_;
  std::int64_t vocab_size_;
  std::int64_t block_len_;
  std::int64_t blocks_per_row_;
  Weight<T> token_;
  Weight<T> position_;
  Norm<T> last_norm_;
  DeviceArray<T> embedded_;
  DeviceArray<T> logits_;
  DeviceArray<std::int64_t> inputs_;
  DeviceArray<std::int32_t> table_and_length_;
  std::vector<std::int32_t> table_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::int64_t length_ = 0;
};

int multiprocessors() {
  int count = 0;
  test::check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0));
  return count;
}

template <typename T>
std::shared_ptr<plan::FusedModel> fused(const FusedCase<T>& of, std::string& why_not) {
  return fuse(of.plan(), of.weights(), of.binding(), multiprocessors(), nullptr, nullptr, why_not);
}

template <typename T>
constexpr double kError = 4.0 / 2048;  // of the largest logit
template <>
constexpr double kError<__nv_bfloat16> = 4.0 / 256;

template <typename T>
class FusedStepOnCuda : public test::OnGpu {};
using Types = testing::Types<__half, __nv_bfloat16>;
TYPED_TEST_SUITE(FusedStepOnCuda, Types);

TYPED_TEST(FusedStepOnCuda, GivesTheLogitsOfRandomModels) {
  using T = TypeParam;
  test::for_random_cases(6, [](Random& random) {
    const std::int64_t heads = random.pick(std::vector<std::int64_t>{2, 2, 2, 12, 16});
    FusedCase<T> of(random, random.integer(1, 3), heads, 4 * heads * kFusedHeadDim);
    std::string why_not;
    const auto model = fused(of, why_not);
    ASSERT_NE(model, nullptr) << why_not;
    const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
    const std::int64_t depths[] = {0, 1, 3, 130, 690};
    std::int64_t depth = 0;
    for (const std::int64_t next : depths) {
      if (next > depth) {
        of.grow(random, next);
        depth = next;
      }
      const std::int64_t id = random.integer(0, of.vocab_size() - 1);
      const FusedStepInputs inputs = of.inputs(id);
      const Doubles expected = of.expected(id);
      ++depth;
      ASSERT_EQ(model->step(inputs, of.logits_on_device(), best.data(), nullptr), cudaSuccess);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      const std::vector<T> logits = of.logits();
      double largest = 0;
      double scale = 0;
      std::size_t top = 0;
      for (std::size_t i = 0; i < logits.size(); ++i) {
        largest = std::max(largest, std::abs(wide(logits[i]) - expected[i]));
        scale = std::max(scale, std::abs(expected[i]));
        ASSERT_TRUE(std::isfinite(wide(logits[i])));
        top = wide(logits[i]) > wide(logits[top]) ? i : top;
      }
      EXPECT_LE(largest, kError<T> * scale) << "at depth " << inputs.past_length;
      EXPECT_LE(of.largest_cache_error(), 4 * kError<T>);
      const TopLogit found = best.to_host()[0];
      EXPECT_EQ(found.token, static_cast<std::int32_t>(top));
      EXPECT_EQ(found.logit, static_cast<float>(logits[top]));
    }
  });
}

TYPED_TEST(FusedStepOnCuda, GivesTheSameBitsEveryTime) {
  using T = TypeParam;
  Random random(11);
  FusedCase<T> of(random, 2, 2, 512);
  of.grow(random, 300);
  std::string why_not;
  const auto model = fused(of, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
  const FusedStepInputs inputs = of.inputs(0);
  std::vector<T> first;
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(model->step(inputs, of.logits_on_device(), best.data(), nullptr), cudaSuccess);
    if (i % 100 == 0) {
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      const std::vector<T> logits = of.logits();
      first = first.empty() ? logits : first;
      ASSERT_EQ(std::memcmp(first.data(), logits.data(), first.size() * sizeof(T)), 0);
    }
  }
}

TYPED_TEST(FusedStepOnCuda, AnIdOutsideTheTablesGivesNaN) {
  using T = TypeParam;
  Random random(12);
  FusedCase<T> of(random, 1, 2, 512);
  std::string why_not;
  const auto model = fused(of, why_not);
  ASSERT_NE(model, nullptr) << why_not;
  const DeviceArray<TopLogit> best(std::vector<TopLogit>(1));
  ASSERT_EQ(model->step(of.inputs(of.vocab_size()), of.logits_on_device(), best.data(), nullptr),
            cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  for (const T logit : of.logits()) {
    EXPECT_TRUE(std::isnan(wide(logit)));
  }
}

TYPED_TEST(FusedStepOnCuda, SaysWhyARunIsNoSuchStep) {
  using T = TypeParam;
  Random random(13);
  const FusedCase<T> fits(random, 1, 2, 512);
  const FusedCase<T> other_inner(random, 1, 2, 384);
  const auto why_not = [](const plan::Plan& plan, const plan::CudaWeights& weights,
                          const plan::StepBinding& binding) {
    std::string reason;
    EXPECT_EQ(fuse(plan, weights, binding, multiprocessors(), nullptr, nullptr, reason), nullptr);
    return reason;
  };
  const plan::Plan plan = fits.plan();
  EXPECT_EQ(why_not(plan, {}, fits.binding()), "the model is not of a 16-bit type");
  plan::CudaWeights incomplete = fits.weights();
  incomplete.nodes.erase(plan::layer_node(0, "mlp.down"));
  EXPECT_EQ(why_not(plan, incomplete, fits.binding()), "it has parts that GPT-2 has not");
  plan::StepBinding two = fits.binding();
  two.tokens = 2;
  EXPECT_EQ(why_not(plan, fits.weights(), two), "it has more than one token, or no cache");
  plan::StepBinding tree = fits.binding();
  tree.tree_parents = tree.block_table;
  EXPECT_EQ(why_not(plan, fits.weights(), tree), "it is one of trees or of ragged rows");
  EXPECT_EQ(why_not(other_inner.plan(), other_inner.weights(), other_inner.binding()),
            "the kernel is built for the sizes of GPT-2 (124M) and GPT-2 medium");
}

}  // namespace
}  // namespace kvcache::kernels
