// One block's way through a step of a model with weights of 16 bits.
#pragma once

#include <type_traits>

#include "kernels/cuda/decoder_attention.cuh"
#include "kernels/cuda/decoder_step.cuh"

namespace kvcache::kernels {

/// The step of weights, cache and logits of 16 bits.
template <typename T, int kHeadDim, int kTokens, bool kLayerNorm>
class FusedDecoderStep : public DecoderStep<FusedDecoderStep<T, kHeadDim, kTokens, kLayerNorm>,
                                            DecoderArgs<T>, kTokens, kLayerNorm> {
  using Base = DecoderStep<FusedDecoderStep, DecoderArgs<T>, kTokens, kLayerNorm>;
  friend Base;

 public:
  __device__ FusedDecoderStep(const DecoderKernelArgs<DecoderArgs<T>>& args, unsigned char* dynamic,
                              FusedDecoderStatic<kTokens>& shared)
      : Base(args, shared.of_any),
        zero_(&shared.zero),
        weights_(args, dynamic, shared.of_any),
        inputs_(dynamic + args.layout.inputs_at),
        attention_(args, dynamic + args.layout.inputs_at, shared),
        vectors_(args.step.vectors),
        normed_columns_(args.step.normed_columns) {}

 private:
  using Base::args_;
  using Base::exchange_;
  using Base::kContraction;
  using Base::kernel_;
  using Base::kExpansion;
  using Base::kHead;
  using Base::kProjection;
  using Base::kQkv;
  using Base::norm_means_;
  using Base::norm_scales_;
  using Base::product_;
  using Base::residual_at_;
  using Base::slice;
  using Base::thread_;
  using Base::token_;
  using Base::words_;

  using Rows = DecoderInputRows<T, kTokens>;
  using Pairs = typename Rows::Pairs;

  /// A token's row of the embedding, and its position's where there is a table of them.
  struct Embedded {
    const T* row;
    const T* position_row;
    bool exists;

    [[nodiscard]] __device__ float2 sum_of(unsigned pair, unsigned of_position, float scale) const {
      const float2 value = values_of<T>(pair);
      const float2 more = kLayerNorm ? values_of<T>(of_position) : float2{0.0F, 0.0F};
      return exists ? float2{value.x * scale + more.x, value.y * scale + more.y}
                    : float2{nanf(""), nanf("")};
    }
  };

  __device__ void load_tokens() { *zero_ = {0, 0, 0, 0}; }

  [[nodiscard]] __device__ Embedded embedded_of(int token) const {
    const std::int64_t hidden = args_.sizes.hidden;
    const std::int64_t id = args_.inputs.tokens[token].id;
    const bool is_token = id >= 0 && id < args_.sizes.vocab_size;
    bool exists = is_token;
    const T* position_row = nullptr;
    if constexpr (kLayerNorm) {
      if (args_.position_weight != nullptr) {
        const std::int64_t position = args_.inputs.tokens[token].position;
        const bool is_known = position >= 0 && position < args_.positions;
        position_row = args_.position_weight + (is_known ? position : 0) * hidden;
        exists = is_token && is_known;
      }
    }
    return {args_.token_weight + (is_token ? id : 0) * hidden, position_row, exists};
  }

  [[nodiscard]] __device__ float2 embedded_pair(int pair) const {
    const Embedded embedded = embedded_of(token_);
    const bool has_position = kLayerNorm && embedded.position_row != nullptr;
    return embedded.sum_of(load_pair(embedded.row, pair),
                           has_position ? load_pair(embedded.position_row, pair) : 0U,
                           args_.embedding_scale);
  }

  __device__ void begin_layer(int layer) {
    vectors_ = args_.vectors + std::int64_t{layer} * args_.vector_layout.elements;
    if constexpr (kLayerNorm) {
      normed_columns_ =
          args_.normed_columns + args_.normed_layout.begin(layer, DecoderProduct::qkv);
    }
  }

  [[nodiscard]] __device__ int pieces() const { return kernel_.pieces[product_]; }

  [[nodiscard]] __device__ static Pairs pairs_of(const Octet (&x)[kTokens]) {
    Pairs pairs;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      pairs.of[t] = InputPairs::of<T>(x[t]);
    }
    return pairs;
  }

  /// Inner results are rounded where they are made.
  struct Inner {
    uint4 of[kTokens];
  };
  [[nodiscard]] __device__ Inner receive_inner(int at, bool has) const {
    const unsigned* const from = words_ + exchange_.expanded + at / 2;
    const auto arriving = receive_paced<4 * kTokens>([&](Arriving<4 * kTokens>& to) {
      for_tokens<kTokens>([&](auto token) {
        if (has && (kTokens == 1 || token < Base::count())) {
          to.template poll_four<4 * decltype(token)::value>(from + token * exchange_.words);
        }
      });
    });
    Inner inner;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const unsigned* const words = arriving.words + 4 * t;
      inner.of[t] = {words[0], words[1], words[2], words[3]};
    }
    return inner;
  }

  __device__ void fill_inputs() {
    if (product_ == kProjection) {
      inputs_.fill(slice(), pieces(), [&](int at, bool has) {
        Octet attended[kTokens];
        receive_attended<T, kHeadDim>(words_, exchange_, Base::count(), at, has, attended);
        return pairs_of(attended);
      });
    } else if (product_ == kContraction) {
      if constexpr (kTokens == 1) {
        inputs_.fill(slice(), pieces(), [&](int at, bool has) {
          const uint4 inner = receive_inner(at, has).of[0];
          return Pairs{{InputPairs{{inner.x, inner.y, inner.z, inner.w}, {}}}};
        });
      } else {
        inputs_.fill_rounded(slice(), pieces(),
                             [&](int at, bool has) { return receive_inner(at, has); });
      }
    } else {
      fill_from_residual(product_ == kHead ? args_.last_norm
                                           : vectors_ + args_.vector_layout.norms[product_ / 2]);
    }
  }

  /// The residual stream times a norm's weight. What the norm divides by, and takes away, is not
  /// known before all warps have come to the product's end (left_of_norm()); until then that of the
  /// norm before is near enough for 16 bits not to overflow, nor what they keep to cancel out.
  __device__ void fill_from_residual(const T* norm) {
    float sums[kTokens] = {};
    float squares[kTokens] = {};
    inputs_.fill(slice(), pieces(), [&](int at, bool has) {
      const uint4 none{0, 0, 0, 0};
      const uint4 weight = has ? __ldg(reinterpret_cast<const uint4*>(norm + at)) : none;
      Octet x[kTokens] = {};
      if (residual_at_ != nullptr) {
        Base::receive_from(residual_at_ + at, has, x);
      } else if (has) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          if (kTokens == 1 || t < Base::count()) {
            x[t] = embedded(embedded_of(t), at);
          }
        }
      }
      const Octet weights = Octet::of<T>(weight);
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          float& value = x[t].values[i];
          if constexpr (kLayerNorm) {
            value = has ? value - norm_means_[t] : 0.0F;
            sums[t] += value;
          }
          squares[t] += value * value;
          value *= weights.values[i] * norm_scales_[t];
        }
      }
      return pairs_of(x);
    });
    Base::keep_squares(squares);
    if constexpr (kLayerNorm) {
      Base::keep_sums(sums);
    }
  }

  __device__ Octet embedded(const Embedded& token, int at) const {
    const uint4 words = __ldg(reinterpret_cast<const uint4*>(token.row + at));
    uint4 of_position{0, 0, 0, 0};
    if (kLayerNorm && token.position_row != nullptr) {
      of_position = __ldg(reinterpret_cast<const uint4*>(token.position_row + at));
    }
    const unsigned pairs[4]{words.x, words.y, words.z, words.w};
    const unsigned more[4]{of_position.x, of_position.y, of_position.z, of_position.w};
    Octet x;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = token.sum_of(pairs[i], more[i], args_.embedding_scale);
      x.values[2 * i] = pair.x;
      x.values[2 * i + 1] = pair.y;
    }
    return x;
  }

  /// Whether the inputs at hand are rounded ones only.
  [[nodiscard]] __device__ bool has_rounded_inputs() const {
    return kTokens > 1 && product_ == kContraction;
  }

  __device__ void begin_product() {
    const bool has_inputs = thread_ % 32 < 4 * Base::count();
    pieces_ = slice().count;
    if (has_rounded_inputs()) {
      own_inputs_ = has_inputs ? inputs_.rounded_of_lane(slice().first, pieces()) : zero_;
      apart_ = has_inputs ? Rows::kRoundedVectors : 0;
    } else {
      own_inputs_ = has_inputs ? inputs_.of_lane(slice().first, pieces()) : zero_;
      apart_ = has_inputs ? kRowVectors : 0;
    }
  }

  /// The warp's sums of so many strips.
  __device__ void multiply_strips(int count, float2* sums) {
    const int lane = thread_ % 32;
#pragma unroll 1
    for (int strip = 0; strip < count; ++strip) {
      const float2 total = multiply_strip();
      if (lane < Base::kPairs * kTokens) {
        sums[strip * kSumsOfStripOf<kTokens> + lane] = total;
      }
    }
  }

  /// Of the next strip, of token t in lanes 4t … 4t + 3: those have inputs, the others zeros.
  __device__ float2 multiply_strip() {
    PieceSums sums;
    const uint4* inputs = own_inputs_;
#pragma unroll 1
    for (int pieces = pieces_; pieces > 0;) {
      const int count = weights_.wait(pieces);
      const uint4* const weights = weights_.first();
      Loads loads;
      if (has_rounded_inputs()) {
#pragma unroll 4
        for (int i = 0; i < count; ++i) {
          const uint4 weight = weights[i * kPieceVectors];
          loads.add(weight);
          sums.template add<T>(weight, inputs[0]);
          inputs += apart_;
        }
      } else {
#pragma unroll 4
        for (int i = 0; i < count; ++i) {
          const uint4 weight = weights[i * kPieceVectors];
          loads.add(weight);
          sums.template add<T>(weight, inputs[0], inputs[apart_ / 2]);
          inputs += apart_;
        }
      }
      weights_.advance(count, loads);
      pieces -= count;
    }
    return sums.total();
  }

  [[nodiscard]] __device__ ColumnPair columns_of(int pair) const {
    if constexpr (kLayerNorm) {
      if (DecoderSizes::normed(static_cast<DecoderProduct>(product_))) {
        const float4 columns = __ldg(
            normed_columns_ + (product_ == kExpansion ? args_.normed_layout.expansion : 0) + pair);
        return {{columns.z, columns.w}, {columns.x, columns.y}};
      }
    }
    const int bias = product_ == kHead ? -1 : args_.vector_layout.biases[product_];
    if (bias < 0) {
      return {};
    }
    return {.bias = values_of<T>(load_pair(vectors_ + bias, pair))};
  }

  /// A pair of columns of the product, by the thread that has their sums; `lanes` of its warp have
  /// one.
  __device__ void finish(int pair, float2 sum, unsigned lanes) {
    if (product_ == kHead) {
      Base::take(2 * pair, sum.x);
      Base::take(2 * pair + 1, sum.y);
      return;
    }
    if (product_ == kQkv) {
      send(words_ + Base::of_token() + pair, pair_of<T>(sum.x, sum.y));
    } else if (product_ == kExpansion) {
      expanded(pair, sum, lanes);
    } else {
      Base::add_to_residual(pair, sum);
    }
  }

  __device__ void expanded(int pair, float2 sum, unsigned lanes) const {
    const SigmoidGate gate(args_.activation);
    unsigned* const to = words_ + Base::of_token() + exchange_.expanded;
    const float first = gate.of(sum.x);
    if (args_.sizes.gated) {
      const float value = first * sum.y;
      const float next = __shfl_down_sync(lanes, value, 1);
      if (pair % 2 == 0) {
        send(to + pair / 2, pair_of<T>(value, next));
      }
    } else {
      send(to + pair, pair_of<T>(first, gate.of(sum.y)));
    }
  }

  uint4* zero_;  // the inputs of lanes that have none
  DecoderWeights<T> weights_;
  Rows inputs_;
  DecoderAttention<T, kHeadDim, kTokens> attention_;
  const T* vectors_;                   // of the layer
  const float4* normed_columns_;       // the same
  const uint4* own_inputs_ = nullptr;  // the lane's, of the product at hand
  int apart_ = 0;
  int pieces_ = 0;
};

}  // namespace kvcache::kernels
