// A random model in GPT-2's form with sequences in a cache, as the fused step takes it, and in
// double precision what a step of it must give.
#pragma once

#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/fused_rows.hpp"
#include "kernels/cuda/fused_step.hpp"
#include "plan/cuda/fused_model.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::test {

using kernels::EmbeddingCudaArgs;
using kernels::HeadCudaArgs;
using kernels::kFusedHeadDim;
using kernels::kMaxTablesBlocks;
using kernels::LinearCudaArgs;
using kernels::NormArgs;

template <typename T>
double wide(T value) {
  return static_cast<double>(static_cast<float>(value));
}
/// A random matrix or vector, on the host and on the device.
template <typename T>
struct Weight {
  Weight(Random& random, std::int64_t count, double scale, double offset = 0)
      : host(values(random, count, scale, offset)), doubles(host.size()), device(host) {
    std::ranges::transform(host, doubles.begin(), wide<T>);
  }

  static std::vector<T> values(Random& random, std::int64_t count, double scale, double offset) {
    std::vector<T> result(static_cast<std::size_t>(count));
    for (T& value : result) {
      value = T(static_cast<float>(offset + scale * random.normal()));
    }
    return result;
  }
  double operator[](std::int64_t i) const { return doubles[static_cast<std::size_t>(i)]; }

  std::vector<T> host;
  std::vector<double> doubles;  // the same
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

inline double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/// The inputs of a run, on the host.
struct StepInputs {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> positions;
  std::vector<std::int64_t> logits_positions;  // empty: all tokens
  std::vector<std::int32_t> block_table;
  std::vector<std::int32_t> past_lengths;
  std::vector<std::int32_t> append_positions;  // empty, as the next: behind the past
  std::vector<std::int32_t> row_offsets;
  std::vector<std::int32_t> parents;

  [[nodiscard]] plan::StepBinding binding() const {
    const auto unless_empty = [](const auto& input) {
      return input.empty() ? nullptr : input.data();
    };
    plan::StepBinding binding;
    binding.input_ids = ids.data();
    binding.position_ids = positions.data();
    binding.logits_positions = unless_empty(logits_positions);
    binding.block_table = block_table.data();
    binding.past_lengths = past_lengths.data();
    binding.append_positions = unless_empty(append_positions);
    binding.row_offsets = unless_empty(row_offsets);
    binding.tree_parents = unless_empty(parents);
    binding.tokens = static_cast<std::int64_t>(ids.size());
    binding.rows = static_cast<std::int64_t>(past_lengths.size());
    binding.blocks_per_row = static_cast<std::int64_t>(block_table.size()) / binding.rows;
    binding.num_logits =
        static_cast<std::int64_t>(logits_positions.empty() ? ids.size() : logits_positions.size());
    return binding;
  }

  /// Where a row's tokens begin.
  [[nodiscard]] std::int64_t begin(std::size_t row) const {
    return row_offsets.empty() ? 0 : row_offsets[row];
  }
  /// The row of a token, or none where it only fills the run up.
  [[nodiscard]] std::optional<std::size_t> row_of(std::size_t token) const {
    for (std::size_t row = 0; row < past_lengths.size(); ++row) {
      const std::int64_t end =
          row_offsets.empty() ? static_cast<std::int64_t>(ids.size()) : row_offsets[row + 1];
      if (static_cast<std::int64_t>(token) < end) {
        return row;
      }
    }
    return std::nullopt;
  }
};

/// What a fused step may differ by, of the largest logit.
template <typename T>
constexpr double kStepError = 4.0 / 2048;
template <>
inline constexpr double kStepError<__nv_bfloat16> = 4.0 / 256;

/// The largest logit of a row, whatever its sign.
inline double largest_logit(const Doubles& row) {
  double largest = 0;
  for (const double logit : row) {
    largest = std::max(largest, std::abs(logit));
  }
  return largest;
}

/// The largest difference of logits to the expected ones.
template <typename T>
double largest_difference(std::span<const T> logits, const Doubles& expected) {
  double largest = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    largest = std::max(largest, std::abs(wide(logits[i]) - expected[i]));
  }
  return largest;
}

/// Whether a row of logits is the expected one, and `best` its best token. `typical`: what the
/// largest logit of such a row is, where more is known than the row: of some hundred rows of a few
/// dozen logits one has none but small ones by chance, and errors like the others'.
template <typename T>
void expect_logits(std::span<const T> logits, const Doubles& expected,
                   const kernels::TopLogit& best, double typical = 0,
                   double error = kStepError<T>) {
  std::size_t top = 0;
  const double scale = std::max(typical, largest_logit(expected));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    ASSERT_TRUE(std::isfinite(wide(logits[i])));
    top = wide(logits[i]) > wide(logits[top]) ? i : top;
  }
  EXPECT_LE(largest_difference(logits, expected), error * scale);
  EXPECT_EQ(best.token, static_cast<std::int32_t>(top));
  EXPECT_EQ(best.logit, static_cast<float>(logits[top]));
}

constexpr std::int64_t kMostLogits = 64;  // rows of a step, unless a test says otherwise

/// A model, sequences in its cache, and what a step must give.
template <typename T>
class FusedCase {
 public:
  /// What not every kernel takes.
  struct Others {
    std::int64_t head_dim = kFusedHeadDim;
    std::int64_t most_vocabulary = 3000;
    std::int64_t most_rows = 16;
    std::int64_t most_logits = kMostLogits;
    bool rounds_inputs = false;  // of products to T, as the graph does
  };

  FusedCase(Random& random, std::int64_t layers, std::int64_t heads, std::int64_t inner)
      : FusedCase(random, layers, heads, inner, Others{}) {}
  FusedCase(Random& random, std::int64_t layers, std::int64_t heads, std::int64_t inner,
            const Others& others)
      : heads_(heads),
        head_dim_(others.head_dim),
        hidden_(heads * head_dim_),
        vocab_size_(random.integer(1, others.most_vocabulary)),
        block_len_(random.pick(std::vector<std::int64_t>{8, 32, 1024})),
        blocks_per_row_((kContext + block_len_ - 1) / block_len_),
        rows_(others.most_rows > kMostRows
                  ? others.most_rows
                  : std::min<std::int64_t>(kMostRows, kMaxTablesBlocks / blocks_per_row_)),
        token_(random, vocab_size_ * hidden_, 1, random.chance(0.3) ? 3 : 0),
        position_(random, kContext * hidden_, 0.3),
        last_norm_(random, hidden_),
        embedded_(std::vector<T>(static_cast<std::size_t>(hidden_))),
        logits_(std::vector<T>(static_cast<std::size_t>(others.most_logits * vocab_size_))),
        rounds_inputs_(others.rounds_inputs),
        lengths_(static_cast<std::size_t>(rows_)) {
    table_.resize(static_cast<std::size_t>(rows_ * blocks_per_row_));
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
    layer.attention.head_dim = static_cast<std::size_t>(head_dim_);
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
      weights.nodes.emplace(plan::layer_node(number, "attention"),
                            kernels::AttentionRulesCuda<T>{});
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

  [[nodiscard]] kernels::RowsSizes rows_sizes() const {
    const auto size = [](std::int64_t of) { return static_cast<int>(of); };
    return {size(std::ssize(layers_)),
            size(hidden_),
            size(layers_.front()->expansion.outputs),
            size(heads_),
            size(vocab_size_),
            kContext};
  }

  [[nodiscard]] const std::vector<std::int32_t>& block_table() const { return table_; }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t length(std::int64_t row) const {
    return lengths_[static_cast<std::size_t>(row)];
  }

  /// Of a run with these inputs, which are on the host.
  [[nodiscard]] plan::StepBinding binding(const StepInputs& inputs) const {
    plan::StepBinding binding = inputs.binding();
    for (const auto& layer : layers_) {
      binding.pools.push_back(reinterpret_cast<std::byte*>(layer->keys.data()));
      binding.pools.push_back(reinterpret_cast<std::byte*>(layer->values.data()));
    }
    binding.block_len = block_len_;
    binding.logits = reinterpret_cast<std::byte*>(logits_.data());
    return binding;
  }

  /// Adds random keys and values until a row has `length` tokens.
  void grow(Random& random, std::int64_t row, std::int64_t length) {
    std::int64_t& has = lengths_[static_cast<std::size_t>(row)];
    for (const auto& layer : layers_) {
      for (std::int64_t position = has; position < length; ++position) {
        for (std::int64_t head = 0; head < heads_; ++head) {
          for (std::int64_t e = 0; e < head_dim_; ++e) {
            const auto at = static_cast<std::size_t>(pool_at(row, head, position) + e);
            layer->host_keys[at] = T(static_cast<float>(random.normal()));
            layer->host_values[at] = T(static_cast<float>(random.normal()));
          }
        }
      }
      layer->upload();
    }
    has = std::max(has, length);
  }

  /// Of one more token of the first row.
  [[nodiscard]] StepInputs one_token(std::int64_t id) const {
    StepInputs inputs;
    inputs.ids = {id};
    inputs.positions = {lengths_[0]};
    inputs.past_lengths = {static_cast<std::int32_t>(lengths_[0])};
    inputs.block_table.assign(table_.begin(), table_.begin() + blocks_per_row_);
    return inputs;
  }

  /// Of `count` tokens in any mix: rows with one more token, prompts and trees, which lie behind a
  /// gap, some of the logits, more than once too, tokens that fill the run up.
  [[nodiscard]] StepInputs random_tokens(Random& random, std::int64_t count) const {
    StepInputs inputs;
    inputs.block_table = table_;
    inputs.row_offsets = {0};
    const bool trees = random.chance(0.5);
    const std::int64_t of_rows = random.chance(0.3) ? random.integer(1, count) : count;
    for (std::int64_t row = 0; row < rows_; ++row) {
      const std::int64_t left = of_rows - inputs.row_offsets.back();
      const std::int64_t tokens =
          row == rows_ - 1 ? left : random.integer(0, std::min(left, random.integer(1, count)));
      add_row(random, row, tokens, trees, inputs);
    }
    inputs.ids.resize(static_cast<std::size_t>(count));
    inputs.positions.resize(inputs.ids.size());
    if (trees) {
      inputs.parents.resize(inputs.ids.size(), -1);
    }
    for (std::int64_t i = random.integer(1, std::min(2 * count, kMostLogits)); i > 0; --i) {
      inputs.logits_positions.push_back(random.integer(0, of_rows - 1));
    }
    return inputs;
  }

  /// Of rows of up to `most_of_row` tokens each, some without any, all of them trees or none, and
  /// so many tokens and rows of logits that fill the run up. Logits of all tokens, or of some.
  [[nodiscard]] StepInputs random_rows(Random& random, std::int64_t most_of_row,
                                       std::int64_t fill) const {
    StepInputs inputs;
    inputs.block_table = table_;
    inputs.row_offsets = {0};
    const bool trees = random.chance(0.7);
    for (std::int64_t row = 0; row < rows_; ++row) {
      const std::int64_t tokens = row == 0             ? most_of_row
                                  : random.chance(0.1) ? 0
                                                       : random.integer(1, most_of_row);
      add_row(random, row, tokens, trees, inputs);
    }
    const auto of_rows = static_cast<std::int64_t>(inputs.ids.size());
    inputs.ids.resize(inputs.ids.size() + static_cast<std::size_t>(fill));
    inputs.positions.resize(inputs.ids.size());
    if (trees) {
      inputs.parents.resize(inputs.ids.size(), -1);
    }
    if (fill > 0 || random.chance(0.5)) {
      for (std::int64_t i = 0; i < of_rows + fill; ++i) {
        inputs.logits_positions.push_back(random.integer(0, of_rows - 1));
      }
    }
    return inputs;
  }

  /// Each token's logits, in double precision but for what the cache rounds; those without a row
  /// have none. What they append is expected in the cache.
  std::vector<Doubles> expected(const StepInputs& inputs) {
    std::vector<Doubles> logits;
    for (std::size_t token = 0; token < inputs.ids.size(); ++token) {
      const auto row = inputs.row_of(token);
      logits.push_back(row ? expected(inputs, token, *row) : Doubles{});
    }
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

  /// What the first row's sequence has after a step of one token.
  void keep_token() { ++lengths_[0]; }

  static constexpr std::int64_t kContext = 700;
  static constexpr std::int64_t kMostRows = 16;

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
          host_keys(
              static_cast<std::size_t>(of.rows_ * of.blocks_per_row_ * of.block_len_ * of.hidden_),
              T(std::numeric_limits<float>::quiet_NaN())),
          host_values(host_keys),
          keys(host_keys),
          values(host_values) {}

    void upload() const {
      const std::size_t bytes = host_keys.size() * sizeof(T);
      check_cuda(cudaMemcpy(keys.data(), host_keys.data(), bytes, cudaMemcpyHostToDevice));
      check_cuda(cudaMemcpy(values.data(), host_values.data(), bytes, cudaMemcpyHostToDevice));
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

  /// So many more tokens of a row, random ones: a chain, or a tree that lies behind a gap.
  void add_row(Random& random, std::int64_t row, std::int64_t tokens, bool trees,
               StepInputs& inputs) const {
    const std::int64_t past = length(row);
    const std::int64_t begin = inputs.row_offsets.back();
    for (std::int64_t i = 0; i < tokens; ++i) {
      const std::int64_t parent = trees ? random.integer(-1, i - 1) : i - 1;
      inputs.ids.push_back(random.integer(0, vocab_size_ - 1));
      inputs.positions.push_back(
          parent < 0 ? past : inputs.positions[static_cast<std::size_t>(begin + parent)] + 1);
      if (trees) {
        inputs.parents.push_back(static_cast<std::int32_t>(parent));
      }
    }
    inputs.past_lengths.push_back(static_cast<std::int32_t>(past));
    if (trees) {
      inputs.append_positions.push_back(static_cast<std::int32_t>(past + random.integer(0, 20)));
    }
    inputs.row_offsets.push_back(static_cast<std::int32_t>(begin + tokens));
  }

  [[nodiscard]] std::int64_t pool_at(std::int64_t row, std::int64_t head,
                                     std::int64_t position) const {
    const std::int64_t block =
        table_[static_cast<std::size_t>(row * blocks_per_row_ + position / block_len_)];
    return ((block * heads_ + head) * block_len_ + position % block_len_) * head_dim_;
  }

  static void add(Doubles& to, const Doubles& what) {
    std::ranges::transform(to, what, to.begin(), std::plus<>());
  }

  /// Positions of a token's row that it sees, its own last: the past, and among the new tokens
  /// itself and its ancestors.
  [[nodiscard]] static std::vector<std::int64_t> seen(const StepInputs& inputs, std::size_t token,
                                                      std::size_t row) {
    std::vector<std::int64_t> positions(static_cast<std::size_t>(inputs.past_lengths[row]));
    std::iota(positions.begin(), positions.end(), 0);
    const std::int64_t begin = inputs.begin(row);
    const std::int64_t append =
        (inputs.append_positions.empty() ? inputs.past_lengths : inputs.append_positions)[row];
    std::vector<std::int64_t> path;
    for (std::int64_t i = static_cast<std::int64_t>(token) - begin; i >= 0;
         i = inputs.parents.empty() ? i - 1 : inputs.parents[static_cast<std::size_t>(begin + i)]) {
      path.push_back(append + i);
    }
    positions.insert(positions.end(), path.rbegin(), path.rend());
    return positions;
  }

  Doubles expected(const StepInputs& inputs, std::size_t token, std::size_t row) {
    Doubles x(static_cast<std::size_t>(hidden_));
    for (std::int64_t i = 0; i < hidden_; ++i) {
      x[static_cast<std::size_t>(i)] = token_[inputs.ids[token] * hidden_ + i] +
                                       position_[inputs.positions[token] * hidden_ + i];
    }
    const std::vector<std::int64_t> positions = seen(inputs, token, row);
    for (const auto& layer : layers_) {
      const Doubles qkv = as_input(layer->qkv.of(as_input(layer->first_norm.of(x))));
      const Doubles attended = attend(*layer, qkv, static_cast<std::int64_t>(row), positions);
      add(x, layer->projection.of(as_input(attended)));
      Doubles inner = layer->expansion.of(as_input(layer->second_norm.of(x)));
      for (double& value : inner) {
        value = gelu(value);
      }
      add(x, layer->contraction.of(as_input(inner)));
    }
    const Doubles last = as_input(last_norm_.of(x));
    Doubles logits(static_cast<std::size_t>(vocab_size_));
    for (std::int64_t out = 0; out < vocab_size_; ++out) {
      for (std::int64_t i = 0; i < hidden_; ++i) {
        logits[static_cast<std::size_t>(out)] +=
            last[static_cast<std::size_t>(i)] * token_[out * hidden_ + i];
      }
    }
    return logits;
  }

  /// Values as a product takes them.
  [[nodiscard]] Doubles as_input(Doubles values) const {
    for (double& value : values) {
      value = rounds_inputs_ ? wide(T(static_cast<float>(value))) : value;
    }
    return values;
  }

  Doubles attend(Layer& layer, const Doubles& qkv, std::int64_t row,
                 const std::vector<std::int64_t>& positions) {
    Doubles attended(static_cast<std::size_t>(hidden_));
    for (std::int64_t head = 0; head < heads_; ++head) {
      const double* q = qkv.data() + head * head_dim_;
      for (std::int64_t e = 0; e < head_dim_; ++e) {
        const auto at = static_cast<std::size_t>(pool_at(row, head, positions.back()) + e);
        layer.host_keys[at] = T(static_cast<float>(q[hidden_ + e]));
        layer.host_values[at] = T(static_cast<float>(q[2 * hidden_ + e]));
      }
      Doubles scores;
      for (const std::int64_t position : positions) {
        const auto at = static_cast<std::size_t>(pool_at(row, head, position));
        double score = 0;
        for (std::size_t e = 0; e < static_cast<std::size_t>(head_dim_); ++e) {
          score += q[e] * wide(layer.host_keys[at + e]);
        }
        scores.push_back(score * kScale);
      }
      const double max = *std::ranges::max_element(scores);
      double sum = 0;
      for (double& score : scores) {
        score = std::exp(score - max);
        sum += score;
      }
      for (std::size_t i = 0; i < positions.size(); ++i) {
        const auto at = static_cast<std::size_t>(pool_at(row, head, positions[i]));
        for (std::size_t e = 0; e < static_cast<std::size_t>(head_dim_); ++e) {
          attended[static_cast<std::size_t>(head * head_dim_) + e] +=
              scores[i] / sum * wide(layer.host_values[at + e]);
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
  std::int64_t head_dim_;
  std::int64_t hidden_;
  std::int64_t vocab_size_;
  std::int64_t block_len_;
  std::int64_t blocks_per_row_;
  std::int64_t rows_;
  Weight<T> token_;
  Weight<T> position_;
  Norm<T> last_norm_;
  DeviceArray<T> embedded_;
  DeviceArray<T> logits_;  // [rows of logits, vocab_size]
  bool rounds_inputs_;
  std::vector<std::int32_t> table_;  // [rows, blocks_per_row]
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<std::int64_t> lengths_;  // of the rows
};

/// A step from the beginning to its end.
template <typename T>
cudaError_t step_to_end(plan::FusedModel& model, const plan::StepBinding& binding, T* logits,
                        kernels::TopLogit* best) {
  plan::PreparedStep prepared;
  if (!model.prepare(binding, prepared)) {
    return cudaErrorNotSupported;
  }
  const cudaError_t error = model.step(binding, logits, best, {}, prepared);
  return error != cudaSuccess ? error : cudaDeviceSynchronize();
}

/// Whether a step gives the expected logits and best tokens, and leaves the expected cache.
template <typename T>
void expect_step(plan::FusedModel& model, FusedCase<T>& of, const StepInputs& inputs) {
  const plan::StepBinding binding = of.binding(inputs);
  const std::vector<Doubles> expected = of.expected(inputs);
  const DeviceArray<kernels::TopLogit> best(
      std::vector<kernels::TopLogit>(static_cast<std::size_t>(binding.num_logits)));
  ASSERT_EQ(step_to_end(model, binding, of.logits_on_device(), best.data()), cudaSuccess);
  const std::vector<T> all = of.logits();
  const std::vector<kernels::TopLogit> tops = best.to_host();
  const auto vocab_size = static_cast<std::size_t>(of.vocab_size());
  std::vector<double> scales;
  for (const Doubles& logits : expected) {
    if (!logits.empty()) {  // not what only fills the run up
      scales.push_back(largest_logit(logits));
    }
  }
  std::ranges::nth_element(scales, scales.begin() + std::ssize(scales) / 2);
  const double typical = scales[scales.size() / 2];
  for (std::size_t row = 0; row < static_cast<std::size_t>(binding.num_logits); ++row) {
    const auto token = inputs.logits_positions.empty()
                           ? row
                           : static_cast<std::size_t>(inputs.logits_positions[row]);
    const std::span<const T> logits(all.data() + row * vocab_size, vocab_size);
    SCOPED_TRACE("row " + std::to_string(row) + " of " + std::to_string(binding.num_logits));
    expect_logits(logits, expected[token], tops[row], typical);
    if (testing::Test::HasFatalFailure()) {
      return;
    }
  }
  EXPECT_LE(of.largest_cache_error(), 4 * kStepError<T>);
}

/// Whether a step gives the same bits as often as it is repeated: each hundredth is looked at.
template <typename T>
void expect_same_bits(plan::FusedModel& model, const FusedCase<T>& of, const StepInputs& inputs,
                      int times) {
  const plan::StepBinding binding = of.binding(inputs);
  const DeviceArray<kernels::TopLogit> best(
      std::vector<kernels::TopLogit>(static_cast<std::size_t>(binding.num_logits)));
  const auto count = static_cast<std::size_t>(binding.num_logits * of.vocab_size());
  std::vector<T> first;
  plan::PreparedStep prepared;
  ASSERT_TRUE(model.prepare(binding, prepared));
  for (int i = 0; i < times; ++i) {
    ASSERT_EQ(model.step(binding, of.logits_on_device(), best.data(), {}, prepared), cudaSuccess);
    if (i % 100 == 0) {
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      const std::vector<T> logits = of.logits();
      first = first.empty() ? logits : first;
      ASSERT_EQ(std::memcmp(first.data(), logits.data(), count * sizeof(T)), 0);
    }
  }
}

}  // namespace kvcache::test
