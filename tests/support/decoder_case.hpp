// A random model in Llama's or GPT-2's form with a sequence in a cache, as the fused decoder takes
// it, and in double precision what a step of it must give.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cuda/fused_decoder.hpp"
#include "kernels/cuda/quantized_decoder_plan.hpp"
#include "plan/cuda/fused_model.hpp"
#include "support/fused_case.hpp"
#include "support/quantized_device.hpp"

namespace kvcache::test {

/// What such models have or have not.
struct DecoderForm {
  std::int64_t layers = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 64;
  std::int64_t hidden = 64;
  std::int64_t inner = 64;
  std::int64_t vocab_size = 64;
  std::int64_t rotary_dims = 64;
  bool interleaved = false;
  bool gated = true;
  bool biases = false;
  bool query_key_norms = false;
  bool layer_norms = false;  // in place of RMSNorm
  bool positions = false;    // a table of them
  float embedding_scale = 1;
  std::int64_t block_len = 16;
  kernels::QuantizedKind layer_kind;  // of quantised weights
  kernels::QuantizedKind head_kind;

  static DecoderForm random(Random& random) {
    DecoderForm form;
    form.layers = random.integer(1, 3);
    form.head_dim = random.pick(std::vector<std::int64_t>{64, 128});
    form.kv_heads = random.integer(1, 4);
    form.heads = form.kv_heads * random.integer(1, kernels::kMaxGroup);
    form.hidden = 32 * random.integer(1, 30);
    form.inner = 32 * random.integer(1, 40);
    form.vocab_size = random.integer(1, 2000);
    form.rotary_dims = random.pick(std::vector<std::int64_t>{0, 32, form.head_dim, form.head_dim});
    form.interleaved = random.chance(0.3);
    form.gated = random.chance(0.8);
    form.biases = random.chance(0.4);
    form.query_key_norms = random.chance(0.4);
    form.layer_norms = random.chance(0.4);
    form.positions = form.layer_norms && random.chance(0.7);
    form.embedding_scale = random.chance(0.3) ? 3.5F : 1.0F;
    form.block_len = random.pick(std::vector<std::int64_t>{8, 16, 256});
    return form;
  }

  /// Of weights with scales for whole blocks of inputs.
  static DecoderForm random_quantized(Random& random) {
    DecoderForm form = DecoderForm::random(random);
    form.layer_norms = form.positions = false;
    const auto kind = [&] {
      kernels::QuantizedKind one;
      one.bits = random.chance(0.4) ? 8 : 4;
      one.minimums = one.bits == 4 && random.chance(0.4);
      one.block_pieces = 1 << random.integer(0, 3);
      return one;
    };
    form.layer_kind = kind();
    form.head_kind = random.chance(0.5) ? form.layer_kind : kind();
    const auto of_heads = static_cast<int>(form.heads * form.head_dim) / kernels::kPieceInputs;
    while (of_heads % form.layer_kind.block_pieces != 0) {
      form.layer_kind.block_pieces /= 2;
    }
    const auto block = std::int64_t{kernels::kPieceInputs} *
                       std::max(form.layer_kind.block_pieces, form.head_kind.block_pieces);
    form.hidden = block * random.integer(1, 960 / block);
    form.inner = block * random.integer(1, 1280 / block);
    return form;
  }
};

/// Weights, cache and logits of one type of 16 bits.
template <typename T>
struct SixteenBitWeights {
  using Vector = T;
  using Cache = T;
  static constexpr double kError = kStepError<T>;

  /// A product's weight in panels of 64 columns, of a gate those of both matrices in turns.
  class Matrix {
   public:
    Matrix(Random& random, const DecoderForm& /*form*/, std::int64_t from, std::int64_t to,
           std::int64_t of = 1)
        : inputs_(from),
          outputs_(to),
          matrices_(of),
          weight_(random, of * ((to + 63) / 64) * from * 64,
                  1 / std::sqrt(static_cast<double>(from))),
          bias_(random, of * to, 0.1) {}

    void tell(plan::CudaWeights& weights, const std::string& node, const NormArgs<T>& norm,
              kernels::Activation activation, bool biased) const {
      LinearCudaArgs<T> args;
      args.norm = norm;
      args.weight = weight_.device.data();
      args.bias = biased ? bias_.device.data() : nullptr;
      args.tokens = 1;
      args.inputs = inputs_;
      args.outputs = outputs_;
      args.gelu = activation == kernels::Activation::gelu_tanh;
      if (matrices_ == 2) {
        weights.nodes.emplace(node, kernels::GatedLinearCudaArgs<T>{args, activation});
      } else {
        weights.nodes.emplace(node, args);
      }
    }
    /// One matrix's outputs behind the other's.
    [[nodiscard]] Doubles of(const Doubles& x, bool biased) const {
      Doubles y;
      for (std::int64_t matrix = 0; matrix < matrices_; ++matrix) {
        for (std::int64_t column = 0; column < outputs_; ++column) {
          const std::int64_t panel = column / 64 * matrices_ + matrix;
          double sum = biased ? bias_[matrix * outputs_ + column] : 0;
          for (std::int64_t i = 0; i < inputs_; ++i) {
            sum +=
                x[static_cast<std::size_t>(i)] * weight_[(panel * inputs_ + i) * 64 + column % 64];
          }
          y.push_back(sum);
        }
      }
      return y;
    }

   private:
    std::int64_t inputs_;
    std::int64_t outputs_;
    std::int64_t matrices_;
    Weight<T> weight_;
    Weight<T> bias_;
  };

  /// The embedding, which is the head, too.
  class Tokens {
   public:
    Tokens(Random& random, const DecoderForm& form)
        : hidden_(form.hidden),
          vocab_size_(form.vocab_size),
          weight_(random, form.vocab_size * form.hidden, 1) {}

    void tell(plan::CudaWeights& weights, float scale, const NormArgs<T>& norm) const {
      EmbeddingCudaArgs<T> embedding;
      embedding.token_weight = weight_.device.data();
      embedding.size = hidden_;
      embedding.vocab_size = vocab_size_;
      embedding.scale = scale;
      weights.nodes.emplace(plan::kEmbeddingNode, embedding);
      HeadCudaArgs<T> head;
      head.norm = norm;
      head.weight = weight_.device.data();
      head.inputs = hidden_;
      head.outputs = vocab_size_;
      weights.nodes.emplace(plan::kHeadNode, head);
    }
    [[nodiscard]] double at(std::int64_t token, std::int64_t i) const {
      return weight_[token * hidden_ + i];
    }
    [[nodiscard]] Doubles logits(const Doubles& x) const {
      Doubles logits(static_cast<std::size_t>(vocab_size_));
      for (std::size_t out = 0; out < logits.size(); ++out) {
        for (std::size_t i = 0; i < x.size(); ++i) {
          logits[out] += x[i] * at(static_cast<std::int64_t>(out), static_cast<std::int64_t>(i));
        }
      }
      return logits;
    }

   private:
    std::int64_t hidden_;
    std::int64_t vocab_size_;
    Weight<T> weight_;
  };
};

/// Weights of 8 and 4 bits, which multiply what is rounded to int8.
template <typename CacheElement>
struct QuantizedWeights {
  using Vector = float;
  using Cache = CacheElement;
  // Where the last places' difference crosses a boundary of the rounding, an activation moves by
  // 1 / 127 of its block's largest.
  static constexpr double kError = 3e-2;

  static kernels::QuantizedWeight kind(const kernels::QuantizedKind& kind, std::int64_t inputs,
                                       std::int64_t outputs, std::int64_t matrices) {
    kernels::QuantizedWeight of;
    of.inputs = inputs;
    of.outputs = outputs;
    of.matrices = matrices;
    of.bits = kind.bits;
    of.minimums = kind.minimums;
    of.block_size = std::int64_t{kernels::kPieceInputs} * kind.block_pieces;
    return of;
  }
  /// So that elements are about as large as a normal number times `size`.
  static float scale(const kernels::QuantizedKind& kind, double size) {
    return static_cast<float>(size / (kind.bits == 8 ? 74 : 5));
  }

  /// A product's weight.
  class Matrix {
   public:
    Matrix(Random& random, const DecoderForm& form, std::int64_t from, std::int64_t to,
           std::int64_t of = 1)
        : Matrix(random, form.layer_kind, from, to, of, 1 / std::sqrt(static_cast<double>(from))) {}
    Matrix(Random& random, const kernels::QuantizedKind& of_kind, std::int64_t from,
           std::int64_t to, std::int64_t of, double size)
        : weight_(random, kind(of_kind, from, to, of), scale(of_kind, size)),
          device_(weight_),
          bias_(random, of * to, 0.1) {
      for (std::int64_t matrix = 0; matrix < of; ++matrix) {
        for (std::int64_t output = 0; output < to; ++output) {
          for (std::int64_t input = 0; input < from; ++input) {
            elements_.push_back(weight_.at(input, output, matrix));
          }
        }
      }
    }

    [[nodiscard]] kernels::QuantizedLinearCudaArgs args(const NormArgs<float>& norm) const {
      kernels::QuantizedLinearCudaArgs args;
      args.norm = norm;
      args.weight = device_.view();
      args.tokens = 1;
      return args;
    }
    void tell(plan::CudaWeights& weights, const std::string& node, const NormArgs<float>& norm,
              kernels::Activation activation, bool biased) const {
      kernels::QuantizedLinearCudaArgs args = this->args(norm);
      args.bias = biased ? bias_.device.data() : nullptr;
      args.activation = activation;
      weights.nodes.emplace(node, args);
    }
    /// One matrix's outputs behind the other's.
    [[nodiscard]] Doubles of(const Doubles& x, bool biased) const {
      const Doubles rounded =
          multiplied(x, weight_.view().block_size, kernels::AccuracyLevel::int8);
      Doubles y;
      auto element = elements_.begin();
      for (std::int64_t i = 0; i < weight_.view().matrices * weight_.view().outputs; ++i) {
        y.push_back(
            std::inner_product(rounded.begin(), rounded.end(), element, biased ? bias_[i] : 0.0));
        element += static_cast<std::ptrdiff_t>(rounded.size());
      }
      return y;
    }
    [[nodiscard]] double at(std::int64_t output, std::int64_t input) const {
      return elements_[static_cast<std::size_t>(output * weight_.view().inputs + input)];
    }
    [[nodiscard]] const kernels::QuantizedWeight& on_device() const { return device_.view(); }

   private:
    QuantizedCase weight_;
    DeviceWeight device_;
    Weight<float> bias_;
    Doubles elements_;  // [matrices, outputs, inputs]
  };

  /// The embedding, which is the head, too.
  class Tokens {
   public:
    Tokens(Random& random, const DecoderForm& form)
        : weight_(random, form.head_kind, form.hidden, form.vocab_size, 1, 1) {}

    void tell(plan::CudaWeights& weights, float scale, const NormArgs<float>& norm) const {
      kernels::QuantizedEmbeddingCudaArgs embedding;
      embedding.weight = weight_.on_device();
      embedding.scale = scale;
      weights.nodes.emplace(plan::kEmbeddingNode, embedding);
      weights.nodes.emplace(plan::kHeadNode, weight_.args(norm));
    }
    [[nodiscard]] double at(std::int64_t token, std::int64_t i) const {
      return weight_.at(token, i);
    }
    [[nodiscard]] Doubles logits(const Doubles& x) const { return weight_.of(x, false); }

   private:
    Matrix weight_;
  };
};

/// RMSNorm, or LayerNorm with a bias.
template <typename T>
class DecoderNorm {
 public:
  DecoderNorm(Random& random, std::int64_t size, bool takes_mean, double epsilon)
      : takes_mean_(takes_mean),
        epsilon_(epsilon),
        weight_(random, size, 0.3, 1),
        bias_(random, takes_mean ? size : 0, 0.1) {}

  [[nodiscard]] NormArgs<T> args() const {
    return {weight_.device.data(), takes_mean_ ? bias_.device.data() : nullptr,
            static_cast<float>(epsilon_), !takes_mean_};
  }

  [[nodiscard]] Doubles of(Doubles x) const {
    const auto size = static_cast<double>(x.size());
    const double mean = takes_mean_ ? std::accumulate(x.begin(), x.end(), 0.0) / size : 0.0;
    double variance = 0;
    for (const double value : x) {
      variance += (value - mean) * (value - mean) / size;
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto at = static_cast<std::int64_t>(i);
      x[i] = (x[i] - mean) / std::sqrt(variance + epsilon_) * weight_[at] +
             (takes_mean_ ? bias_[at] : 0.0);
    }
    return x;
  }

 private:
  bool takes_mean_;
  double epsilon_;
  Weight<T> weight_;
  Weight<T> bias_;
};

template <typename Weights>
class DecoderCase {
  using T = typename Weights::Vector;
  using Cache = typename Weights::Cache;
  using Matrix = typename Weights::Matrix;

 public:
  static constexpr std::int64_t kContext = 2048;
  static constexpr std::int64_t kMostRows = 8;  // of logits

  DecoderCase(Random& random, const DecoderForm& form)
      : form_(form),
        tokens_(random, form),
        positions_(random, form.positions ? kContext * form.hidden : 0, 1, 4),
        last_norm_(random, form.hidden, form.layer_norms, 1e-5),
        cos_(angles([](double angle) { return std::cos(angle); })),
        sin_(angles([](double angle) { return std::sin(angle); })),
        logits_(std::vector<T>(static_cast<std::size_t>(kMostRows * form.vocab_size))) {
    table_.resize(static_cast<std::size_t>(kContext / form.block_len));
    std::iota(table_.begin(), table_.end(), 0);
    for (std::size_t i = table_.size(); i > 1; --i) {
      std::swap(
          table_[i - 1],
          table_[static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(i) - 1))]);
    }
    for (std::int64_t layer = 0; layer < form.layers; ++layer) {
      layers_.push_back(std::make_unique<Layer>(random, form));
    }
  }

  [[nodiscard]] const DecoderForm& form() const { return form_; }

  [[nodiscard]] plan::Plan plan() const {
    model::LayerSpec layer;
    layer.attention.num_heads = static_cast<std::size_t>(form_.heads);
    layer.attention.num_kv_heads = static_cast<std::size_t>(form_.kv_heads);
    layer.attention.head_dim = static_cast<std::size_t>(form_.head_dim);
    layer.attention.scale = scale();
    layer.mlp.inner_size = static_cast<std::size_t>(form_.inner);
    layer.mlp.gated = form_.gated;
    layer.mlp.activation = form_.gated ? "silu" : "gelu_tanh";
    model::DecoderSpec spec;
    spec.hidden_size = static_cast<std::size_t>(form_.hidden);
    spec.vocab_size = static_cast<std::size_t>(form_.vocab_size);
    spec.max_seq_len = kContext;
    spec.layers.assign(layers_.size(), layer);
    return plan::make_plan(spec, {});
  }

  /// As the nodes tell them.
  [[nodiscard]] plan::CudaWeights weights() const {
    plan::CudaWeights weights;
    tokens_.tell(weights, form_.embedding_scale, last_norm_.args());
    if constexpr (!std::is_same_v<T, float>) {
      auto& embedding = std::get<EmbeddingCudaArgs<T>>(weights.nodes.at(plan::kEmbeddingNode));
      embedding.position_weight = form_.positions ? positions_.device.data() : nullptr;
      embedding.max_seq_len = kContext;
    }
    for (std::size_t number = 0; number < layers_.size(); ++number) {
      const Layer& layer = *layers_[number];
      const auto tell = [&](const char* role, const Matrix& matrix, const NormArgs<T>& norm,
                            kernels::Activation activation) {
        matrix.tell(weights, plan::layer_node(number, role), norm, activation, form_.biases);
      };
      constexpr auto kNone = kernels::Activation::none;
      tell("attention.qkv", layer.qkv, layer.first_norm.args(), kNone);
      weights.nodes.emplace(plan::layer_node(number, "attention"), rules(layer));
      tell("attention.output", layer.projection, {}, kNone);
      tell("mlp.up", layer.expansion, layer.second_norm.args(),
           form_.gated ? kernels::Activation::silu : kernels::Activation::gelu_tanh);
      tell("mlp.down", layer.contraction, {}, kNone);
    }
    return weights;
  }

  [[nodiscard]] plan::StepBinding binding(const StepInputs& inputs) const {
    plan::StepBinding binding = inputs.binding();
    for (const auto& layer : layers_) {
      binding.pools.push_back(reinterpret_cast<std::byte*>(layer->keys.data()));
      binding.pools.push_back(reinterpret_cast<std::byte*>(layer->values.data()));
    }
    binding.block_len = form_.block_len;
    binding.cache_type = std::is_same_v<Cache, float>    ? DataType::float32
                         : std::is_same_v<Cache, __half> ? DataType::float16
                                                         : DataType::bfloat16;
    binding.logits = reinterpret_cast<std::byte*>(logits_.data());
    return binding;
  }

  /// A token at a position, which need not be the length of what is before it.
  [[nodiscard]] StepInputs one_token(std::int64_t id, std::int64_t position) const {
    StepInputs inputs;
    inputs.ids = {id};
    inputs.positions = {position};
    inputs.past_lengths = {static_cast<std::int32_t>(length_)};
    inputs.block_table = table_;
    return inputs;
  }

  /// Adds random keys and values until the sequence has `length` tokens.
  void grow(Random& random, std::int64_t length) {
    for (const auto& layer : layers_) {
      for (std::int64_t position = length_; position < length; ++position) {
        for (std::int64_t head = 0; head < form_.kv_heads; ++head) {
          for (std::int64_t e = 0; e < form_.head_dim; ++e) {
            const auto at = static_cast<std::size_t>(pool_at(head, position) + e);
            layer->host_keys[at] = Cache(static_cast<float>(random.normal()));
            layer->host_values[at] = Cache(static_cast<float>(random.normal()));
          }
        }
      }
      layer->upload();
    }
    length_ = std::max(length_, length);
  }
  void keep_token() { ++length_; }

  /// So many tokens of rows that begin as the sequence does, one behind the other or as a tree
  /// each. All rows but the first end with a block of the cache, and have one of their own behind
  /// it.
  [[nodiscard]] StepInputs random_rows(Random& random, std::int64_t tokens) const {
    StepInputs inputs;
    inputs.row_offsets = {0};
    const bool trees = random.chance(0.5);
    for (std::int64_t row = 0; tokens > 0; ++row) {
      const std::int64_t count = random.integer(1, tokens);
      const bool whole = row == 0 && random.chance(0.5);
      const std::int64_t past =
          whole ? length_ : random.integer(0, length_ / form_.block_len) * form_.block_len;
      std::vector<std::int32_t> table = table_;
      if (!whole) {
        table[static_cast<std::size_t>(past / form_.block_len)] = table_.end()[-1 - row];
      }
      inputs.block_table.insert(inputs.block_table.end(), table.begin(), table.end());
      inputs.past_lengths.push_back(static_cast<std::int32_t>(past));
      std::vector<std::int64_t> depths;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t parent = trees ? random.integer(-1, i - 1) : i - 1;
        depths.push_back(parent < 0 ? 0 : depths[static_cast<std::size_t>(parent)] + 1);
        inputs.ids.push_back(random.integer(0, form_.vocab_size - 1));
        inputs.positions.push_back(past + depths.back());
        if (trees) {
          inputs.parents.push_back(static_cast<std::int32_t>(parent));
        }
      }
      tokens -= count;
      inputs.row_offsets.push_back(static_cast<std::int32_t>(inputs.ids.size()));
    }
    if (random.chance(0.3)) {  // some tokens' logits, in any order
      const std::int64_t count = random.integer(1, kMostRows);
      for (std::int64_t i = 0; i < count; ++i) {
        inputs.logits_positions.push_back(random.integer(0, std::ssize(inputs.ids) - 1));
      }
    }
    return inputs;
  }

  /// The logits of each token of such rows. What they append is expected in the cache. `places`: as
  /// expected().
  std::vector<Doubles> expected_of_rows(const StepInputs& inputs, double places = 0) {
    std::vector<Doubles> logits;
    std::vector<Appended> appended;
    for (std::size_t token = 0; token < inputs.ids.size(); ++token) {
      const std::size_t row = *inputs.row_of(token);
      const auto begin = static_cast<std::size_t>(inputs.begin(row));
      std::vector<std::size_t> path;
      for (auto at = static_cast<std::int64_t>(token - begin); at >= 0;) {
        path.insert(path.begin(), begin + static_cast<std::size_t>(at));
        at = inputs.parents.empty() ? at - 1 : inputs.parents[begin + static_cast<std::size_t>(at)];
      }
      const std::int64_t to = inputs.past_lengths[row] + static_cast<std::int64_t>(token - begin);
      const std::size_t blocks = table_.size();
      logits.push_back(expected_of_path(
          inputs, path, inputs.past_lengths[row],
          inputs.block_table[row * blocks + static_cast<std::size_t>(to / form_.block_len)], to,
          places, appended));
    }
    for (const Appended& one : appended) {
      std::ranges::copy(one.key, layers_[one.layer]->host_keys.begin() + one.at);
      std::ranges::copy(one.value, layers_[one.layer]->host_values.begin() + one.at);
    }
    return logits;
  }

  [[nodiscard]] std::vector<T> logits() const {
    std::vector<T> all = logits_.to_host();
    all.resize(static_cast<std::size_t>(form_.vocab_size));
    return all;
  }
  [[nodiscard]] std::vector<T> logits_of_rows() const { return logits_.to_host(); }
  [[nodiscard]] void* logits_on_device() const { return logits_.data(); }

  /// The largest difference of the device's cache to the expected one.
  [[nodiscard]] double largest_cache_error() const {
    double largest = 0;
    for (const auto& layer : layers_) {
      for (const auto& [device, host] :
           {std::pair{&layer->keys, &layer->host_keys}, {&layer->values, &layer->host_values}}) {
        const std::vector<Cache> found = device->to_host();
        for (std::size_t i = 0; i < found.size(); ++i) {
          const double expected = wide((*host)[i]);
          const bool unused = std::isnan(expected) && std::isnan(wide(found[i]));
          const double error = unused ? 0 : std::abs(wide(found[i]) - expected);
          largest = std::max(largest, std::isnan(error) ? INFINITY : error);
        }
      }
    }
    return largest;
  }

  /// The token's logits, in double precision but for what the graph rounds: queries, keys and
  /// values. What it appends is expected in the cache. `places`: what inputs of products are moved
  /// by, up or down, of themselves.
  Doubles expected(const StepInputs& inputs, double places = 0) {
    Random up_or_down(1);
    const auto moved = [&](Doubles of) {
      if (places > 0) {
        for (double& value : of) {
          value *= 1 + (up_or_down.chance(0.5) ? places : -places);
        }
      }
      return of;
    };
    Doubles x(static_cast<std::size_t>(form_.hidden));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto at = static_cast<std::int64_t>(i);
      x[i] = tokens_.at(inputs.ids[0], at) * form_.embedding_scale +
             (form_.positions ? positions_[inputs.positions[0] * form_.hidden + at] : 0.0);
    }
    for (const auto& layer : layers_) {
      Doubles vectors = layer->qkv.of(moved(layer->first_norm.of(x)), form_.biases);
      add(x, layer->projection.of(moved(attended(*layer, std::move(vectors), inputs.positions[0])),
                                  form_.biases));
      const Doubles both = layer->expansion.of(moved(layer->second_norm.of(x)), form_.biases);
      Doubles inner(static_cast<std::size_t>(form_.inner));
      for (std::size_t i = 0; i < inner.size(); ++i) {
        inner[i] = form_.gated ? both[i] / (1 + std::exp(-both[i])) * both[inner.size() + i]
                               : gelu(both[i]);
      }
      add(x, layer->contraction.of(moved(std::move(inner)), form_.biases));
    }
    return tokens_.logits(moved(last_norm_.of(x)));
  }

 private:
  struct Layer {
    Layer(Random& random, const DecoderForm& form)
        : first_norm(random, form.hidden, form.layer_norms, 1e-5),
          qkv(random, form, form.hidden, (form.heads + 2 * form.kv_heads) * form.head_dim),
          query_norm(random, form.head_dim, false, 1e-6),
          key_norm(random, form.head_dim, false, 1e-6),
          projection(random, form, form.heads * form.head_dim, form.hidden),
          second_norm(random, form.hidden, form.layer_norms, 1e-5),
          expansion(random, form, form.hidden, form.inner, form.gated ? 2 : 1),
          contraction(random, form, form.inner, form.hidden),
          host_keys(static_cast<std::size_t>(kContext * form.kv_heads * form.head_dim),
                    Cache(std::numeric_limits<float>::quiet_NaN())),
          host_values(host_keys),
          keys(host_keys),
          values(host_values) {}

    void upload() const {
      const std::size_t bytes = host_keys.size() * sizeof(Cache);
      check_cuda(cudaMemcpy(keys.data(), host_keys.data(), bytes, cudaMemcpyHostToDevice));
      check_cuda(cudaMemcpy(values.data(), host_values.data(), bytes, cudaMemcpyHostToDevice));
    }

    DecoderNorm<T> first_norm;
    Matrix qkv;
    DecoderNorm<T> query_norm;
    DecoderNorm<T> key_norm;
    Matrix projection;
    DecoderNorm<T> second_norm;
    Matrix expansion;
    Matrix contraction;
    std::vector<Cache> host_keys;
    std::vector<Cache> host_values;
    DeviceArray<Cache> keys;
    DeviceArray<Cache> values;
  };

  [[nodiscard]] float scale() const { return 1 / std::sqrt(static_cast<float>(form_.head_dim)); }

  template <typename Function>
  [[nodiscard]] std::vector<float> angles(const Function& function) const {
    std::vector<float> table;
    for (std::int64_t position = 0; position < kContext; ++position) {
      for (std::int64_t i = 0; i < form_.rotary_dims / 2; ++i) {
        const double share = 2 * static_cast<double>(i) / static_cast<double>(form_.rotary_dims);
        table.push_back(static_cast<float>(
            function(static_cast<double>(position) * std::pow(10000.0, -share))));
      }
    }
    return table;
  }

  [[nodiscard]] kernels::AttentionRulesCuda<T> rules(const Layer& layer) const {
    kernels::AttentionRulesCuda<T> rules;
    if (form_.query_key_norms) {
      rules.query_weight = layer.query_norm.args().weight;
      rules.key_weight = layer.key_norm.args().weight;
      rules.epsilon = layer.query_norm.args().epsilon;
    }
    if (form_.rotary_dims > 0) {
      rules.rotary = {cos_.data(), sin_.data(), kContext, form_.rotary_dims, form_.interleaved};
    }
    return rules;
  }

  static void add(Doubles& to, const Doubles& what) {
    std::ranges::transform(to, what, to.begin(), std::plus<>());
  }

  /// What a token appends, and where.
  struct Appended {
    std::size_t layer;
    std::int64_t at;
    std::vector<Cache> key;
    std::vector<Cache> value;
  };

  /// The last token's logits of a path behind the sequence's first `past` tokens. What it appends
  /// goes to position `to` of a row, in `block`.
  Doubles expected_of_path(const StepInputs& inputs, const std::vector<std::size_t>& path,
                           std::int64_t past, std::int64_t block, std::int64_t to, double places,
                           std::vector<Appended>& appended) {
    const std::int64_t length = std::exchange(length_, past);
    std::vector<std::pair<std::vector<Cache>, std::vector<Cache>>> before;
    for (const auto& layer : layers_) {
      before.emplace_back(layer->host_keys, layer->host_values);
    }
    Doubles logits;
    for (const std::size_t token : path) {
      logits = expected(one_token(inputs.ids[token], inputs.positions[token]), places);
      ++length_;
    }
    for (std::size_t number = 0; number < layers_.size(); ++number) {
      Layer& layer = *layers_[number];
      for (std::int64_t head = 0; head < form_.kv_heads; ++head) {
        const auto of = [&](const std::vector<Cache>& pool) {
          const auto from = pool.begin() + pool_at(head, length_ - 1);
          return std::vector<Cache>(from, from + form_.head_dim);
        };
        appended.push_back(
            {number, pool_at_block(head, block, to), of(layer.host_keys), of(layer.host_values)});
      }
      std::tie(layer.host_keys, layer.host_values) = before[number];
    }
    length_ = length;
    return logits;
  }

  [[nodiscard]] std::int64_t pool_at(std::int64_t head, std::int64_t position) const {
    return pool_at_block(head, table_[static_cast<std::size_t>(position / form_.block_len)],
                         position);
  }
  [[nodiscard]] std::int64_t pool_at_block(std::int64_t head, std::int64_t block,
                                           std::int64_t position) const {
    return ((block * form_.kv_heads + head) * form_.block_len + position % form_.block_len) *
           form_.head_dim;
  }

  [[nodiscard]] Doubles turned(Doubles vector, std::int64_t position) const {
    const std::int64_t pairs = form_.rotary_dims / 2;
    const std::vector<float> cos = cos_.to_host();
    const std::vector<float> sin = sin_.to_host();
    for (std::int64_t i = 0; i < pairs; ++i) {
      const auto one = static_cast<std::size_t>(form_.interleaved ? 2 * i : i);
      const auto other = form_.interleaved ? one + 1 : one + static_cast<std::size_t>(pairs);
      const auto at = static_cast<std::size_t>(position * pairs + i);
      const double a = vector[one];
      const double b = vector[other];
      vector[one] = a * cos[at] - b * sin[at];
      vector[other] = b * cos[at] + a * sin[at];
    }
    return vector;
  }

  /// Head `number` of the vectors, rounded; queries and keys normed and turned before.
  [[nodiscard]] Doubles vector_of(const Layer& layer, const Doubles& vectors, std::int64_t number,
                                  std::int64_t position) const {
    const auto from = vectors.begin() + number * form_.head_dim;
    const auto round = [](double value) { return wide(T(static_cast<float>(value))); };
    Doubles vector(from, from + form_.head_dim);
    std::ranges::transform(vector, vector.begin(), round);
    if (number < form_.heads + form_.kv_heads) {
      if (form_.query_key_norms) {
        vector = (number < form_.heads ? layer.query_norm : layer.key_norm).of(std::move(vector));
      }
      vector = turned(std::move(vector), position);
      std::ranges::transform(vector, vector.begin(), round);
    }
    return vector;
  }

  Doubles attended(Layer& layer, const Doubles& vectors, std::int64_t position) const {
    for (std::int64_t head = 0; head < form_.kv_heads; ++head) {
      const Doubles key = vector_of(layer, vectors, form_.heads + head, position);
      const Doubles value =
          vector_of(layer, vectors, form_.heads + form_.kv_heads + head, position);
      for (std::size_t e = 0; e < key.size(); ++e) {
        const std::size_t at = static_cast<std::size_t>(pool_at(head, length_)) + e;
        layer.host_keys[at] = Cache(static_cast<float>(key[e]));
        layer.host_values[at] = Cache(static_cast<float>(value[e]));
      }
    }
    Doubles out;
    for (std::int64_t head = 0; head < form_.heads; ++head) {
      const Doubles query = vector_of(layer, vectors, head, position);
      const std::int64_t kv_head = head / (form_.heads / form_.kv_heads);
      Doubles scores;
      for (std::int64_t seen = 0; seen <= length_; ++seen) {
        double score = 0;
        for (std::size_t e = 0; e < query.size(); ++e) {
          const auto at = static_cast<std::size_t>(pool_at(kv_head, seen)) + e;
          score += query[e] * wide(layer.host_keys[at]) * scale();
        }
        scores.push_back(score);
      }
      const double max = *std::ranges::max_element(scores);
      Doubles value(query.size());
      double sum = 0;
      for (std::int64_t seen = 0; seen <= length_; ++seen) {
        const double weight = std::exp(scores[static_cast<std::size_t>(seen)] - max);
        sum += weight;
        for (std::size_t e = 0; e < value.size(); ++e) {
          const auto at = static_cast<std::size_t>(pool_at(kv_head, seen)) + e;
          value[e] += weight * wide(layer.host_values[at]);
        }
      }
      for (const double element : value) {
        out.push_back(element / sum);
      }
    }
    return out;
  }

  DecoderForm form_;
  typename Weights::Tokens tokens_;
  Weight<T> positions_;
  DecoderNorm<T> last_norm_;
  DeviceArray<float> cos_;
  DeviceArray<float> sin_;
  DeviceArray<T> logits_;
  std::vector<std::int32_t> table_;
  std::int64_t length_ = 0;
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace kvcache::test
