// One block's way through a step of a model with weights of 8 and 4 bits.
#pragma once

#include "kernels/cuda/decoder_step.cuh"
#include "kernels/cuda/quantized_decoder_attention.cuh"
#include "kernels/cuda/quantized_decoder_inputs.cuh"
#include "kernels/cuda/quantized_decoder_weights.cuh"
#include "kernels/cuda/quantized_token_row.cuh"

namespace kvcache::kernels {

template <typename Cache, int kHeadDim, int kTokens>
class QuantizedDecoderStep : public DecoderStep<QuantizedDecoderStep<Cache, kHeadDim, kTokens>,
                                                QuantizedDecoderArgs<Cache>, kTokens> {
  using Args = QuantizedDecoderArgs<Cache>;
  using Base = DecoderStep<QuantizedDecoderStep, Args, kTokens>;
  friend Base;

 public:
  __device__ QuantizedDecoderStep(const DecoderKernelArgs<Args>& args, unsigned char* dynamic,
                                  QuantizedDecoderStatic<kTokens>& shared)
      : Base(args, shared.of_any),
        largest_(shared.largest),
        first_(row_of(args.step, 0)),
        weights_(
            QuantizedDecoderRing(args.layout, static_cast<int>(threadIdx.x) / 32, dynamic, shared)),
        room_(dynamic + args.layout.inputs_at),
        attention_(args, room_, shared),
        kind_(args.step.layer_kind),
        vectors_(args.step.vectors) {}

 private:
  using Base::args_;
  using Base::exchange_;
  using Base::kContraction;
  using Base::kernel_;
  using Base::kExpansion;
  using Base::kHead;
  using Base::kProjection;
  using Base::kQkv;
  using Base::norm_scales_;
  using Base::product_;
  using Base::residual_at_;
  using Base::slice;
  using Base::strips;
  using Base::thread_;
  using Base::token_;
  using Base::words_;

  /// Eight neighbouring inputs of each token.
  struct Octets {
    Octet of[kTokens];
  };

  __device__ void load_tokens() const {}

  [[nodiscard]] __device__ QuantizedTokenRow embedded_of(int token) const {
    return kTokens == 1 ? first_ : row_of(args_, token);
  }
  __device__ static QuantizedTokenRow row_of(const Args& args, int token) {
    return {args.tokens, args.inputs.tokens[token].id, args.embedding_scale};
  }

  [[nodiscard]] __device__ float2 embedded_pair(int pair) const {
    return embedded_of(token_).pair(pair);
  }

  __device__ void begin_layer(int layer) {
    vectors_ = args_.vectors + std::int64_t{layer} * args_.vector_layout.elements;
    if (layer == args_.sizes.layers) {
      kind_ = args_.head_kind;
    }
  }

  __device__ void fill_inputs() {
    if (product_ == kProjection) {
      fill([&](int at, bool has) {
        Octets attended;
        receive_attended_floats<kHeadDim>(words_, exchange_, Base::count(), at, has, attended.of);
        return attended;
      });
    } else if (product_ == kContraction) {
      if (args_.hands_over_rounded) {
        fill_rounded();
      } else {
        const unsigned* const from = words_ + exchange_.expanded;
        fill([&](int at, bool has) { return received_from(from + at, has); });
      }
    } else {
      fill_from_residual(product_ == kHead ? args_.last_norm
                                           : vectors_ + args_.vector_layout.norms[product_ / 2]);
    }
  }

  [[nodiscard]] __device__ Octets received_from(const unsigned* from, bool has) const {
    Octets x;
    Base::receive_from(from, has, x.of);
    return x;
  }

  /// Of the product at hand.
  [[nodiscard]] __device__ RoundedInputs inputs_of(int token) const {
    return {room_, kernel_.pieces[product_], token};
  }

  /// Calls `take(at, has)` for each eight inputs of the warp's slice, `at` being the first of them,
  /// and rounds what it gives; lanes without any are asked with `has` false, and give zeros.
  template <typename Take>
  __device__ void fill(const Take& take) {
    const int lane = thread_ % 32;
    const int end = slice().first + slice().count;
#pragma unroll 1
    for (int first = slice().first; first < end; first += kRoundPieces) {
      const int piece = first + lane / 4;
      const bool has = piece < end;
      const Octets x = take(piece * kPieceInputs + lane % 4 * 8, has);
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        inputs_of(t).put(piece, has, kind_, x.of[t]);
      }
    }
    __syncwarp();
  }

  /// Of inputs that were rounded where they were made: half a piece a lane, twice, and a piece's
  /// scale and sum.
  __device__ void fill_rounded() {
    constexpr int kHalves = 16;  // pieces of 32 lanes with a half each
    const unsigned* const values = words_ + exchange_.expanded;
    const int lane = thread_ % 32;
    const int end = slice().first + slice().count;
#pragma unroll 1
    for (int first = slice().first; first < end; first += 2 * kHalves) {
      const int piece = first + lane / 2;
      const auto* const half = values + rounded_exchange::value_word(piece * kPieceInputs +
                                                                     lane % 2 * (kPieceInputs / 2));
      const auto arriving = receive_paced<10 * kTokens>([&](Arriving<10 * kTokens>& to) {
        for_tokens<kTokens>([&](auto token) {
          constexpr int kFirst = 10 * decltype(token)::value;
          const int of_token = token * exchange_.words;
          if (kTokens > 1 && token >= Base::count()) {
            return;
          }
          if (piece < end) {
            to.template poll_four<kFirst>(half + of_token);
          }
          if (piece + kHalves < end) {
            to.template poll_four<kFirst + 4>(half + of_token +
                                              rounded_exchange::value_word(kHalves * kPieceInputs));
          }
          if (first + lane < end) {
            to.template poll_two<kFirst + 8>(
                values + of_token + rounded_exchange::block_word(args_.sizes.inner, first + lane));
          }
        });
      });
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        const unsigned* const words = arriving.words + 10 * t;
        const auto decoded = [&](int i) { return rounded_exchange::received(words[i]); };
        RoundedInputs inputs = inputs_of(t);
        if (piece < end) {
          inputs.put_half(piece, lane % 2, {decoded(0), decoded(1), decoded(2), decoded(3)});
        }
        if (piece + kHalves < end) {
          inputs.put_half(piece + kHalves, lane % 2,
                          {decoded(4), decoded(5), decoded(6), decoded(7)});
        }
        if (first + lane < end) {
          inputs.put_block(first + lane, kind_, __uint_as_float(words[8]),
                           rounded_exchange::received_sum(static_cast<int>(words[9])));
        }
      }
    }
    __syncwarp();
  }

  /// The residual stream times a norm's weight. What the norm divides by scales a block's largest
  /// input as it does the others, so integers are the same without it; it comes with the sums
  /// (left_of_norm()).
  __device__ void fill_from_residual(const float* norm) {
    float squares[kTokens] = {};
    fill([&](int at, bool has) {
      Octets x = {};
      float weights[8] = {};
      if (has) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float4 four = __ldg(reinterpret_cast<const float4*>(norm + at + 4 * i));
          weights[4 * i] = four.x;
          weights[4 * i + 1] = four.y;
          weights[4 * i + 2] = four.z;
          weights[4 * i + 3] = four.w;
        }
      }
      if (residual_at_ != nullptr) {
        x = received_from(residual_at_ + at, has);
      } else if (has) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          if (kTokens == 1 || t < Base::count()) {
            x.of[t] = embedded_of(t).octet(at);
          }
        }
      }
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          float& value = x.of[t].values[i];
          squares[t] += value * value;
          value *= weights[i] * norm_scales_[t];
        }
      }
      return x;
    });
    Base::keep_squares(squares);
  }

  __device__ void begin_product() const {}

  /// The warp's sums of so many strips.
  __device__ void multiply_strips(int count, float2* sums) {
    if (kind_.bits == 8) {
      multiply_pairs<8, false, 1>(count, sums);
    } else if (kind_.minimums) {
      multiply_pairs_of_4_bits<true>(count, sums);
    } else {
      multiply_pairs_of_4_bits<false>(count, sums);
    }
  }

  template <bool kMinimums>
  __device__ void multiply_pairs_of_4_bits(int count, float2* sums) {
    if (strips().count <= kStripsTogether) {
      multiply_pairs<4, kMinimums, 1>(count, sums);
    } else {
      multiply_pairs<4, kMinimums, 2>(count, sums);
    }
  }

  template <int kBits, bool kMinimums, int kPairCount>
  __device__ void multiply_pairs(int count, float2* sums) {
    if (slice().count % kUnitPieces == 0) {
      multiply_units<UnitSums<kBits, kMinimums, kPairCount, true, kTokens>>(count, sums,
                                                                            kBits == 4);
    } else {
      multiply_units<UnitSums<kBits, kMinimums, kPairCount, false, kTokens>>(count, sums,
                                                                             kBits == 4);
    }
  }

  template <typename Sums>
  __device__ void multiply_units(int count, float2* sums, bool by_halves) {
    const Share own = slice();
    UnitInputs of_unit;
    weights_.look();
    if constexpr (kTokens == 1) {
      of_unit.load(inputs_of(0), own.first, own.count, by_halves);
    }
#pragma unroll 1
    for (int strip = 0; strip < count; strip += Sums::kStrips) {
      const int strips = min(count - strip, Sums::kStrips);
      Sums unit_sums;
#pragma unroll 1
      for (int piece = 0; piece < own.count; piece += kUnitPieces) {
        // One token's stay in registers where a slice is one unit.
        if (kTokens == 1 && own.count > kUnitPieces) {
          of_unit.load(inputs_of(0), own.first + piece, own.count - piece, by_halves);
        }
        const auto of_token = [&](int token) -> const UnitInputs& {
          if (kTokens > 1) {
            of_unit.load(inputs_of(token), own.first + piece, own.count - piece, by_halves);
          }
          return of_unit;
        };
        weights_.advance(unit_sums.add(weights_.wait(), own.count - piece, strips, of_token));
        weights_.look();
      }
      unit_sums.store(strips, sums + strip * kSumsOfStripOf<kTokens>);
    }
  }

  [[nodiscard]] __device__ ColumnPair columns_of(int pair) const {
    const int bias = product_ == kHead ? -1 : args_.vector_layout.biases[product_];
    if (bias < 0) {
      return {};
    }
    return {.bias = __ldg(reinterpret_cast<const float2*>(vectors_ + bias) + pair)};
  }

  /// A pair of columns of the product, by the thread that has their sums.
  __device__ void finish(int pair, float2 sum, unsigned /*lanes*/) {
    if (product_ == kHead) {
      Base::take(2 * pair, sum.x);
      Base::take(2 * pair + 1, sum.y);
      return;
    }
    if (product_ == kQkv) {
      send(words_ + Base::of_token() + 2 * pair, sum);
    } else if (product_ == kExpansion) {
      const SigmoidGate gate(args_.activation);
      unsigned* const to = words_ + Base::of_token() + exchange_.expanded;
      if (args_.hands_over_rounded) {
        send_rounded(to, pair, gate.of(sum.x) * sum.y);
      } else if (args_.sizes.gated) {
        send(to + pair, gate.of(sum.x) * sum.y);
      } else {
        send(to + 2 * pair, float2{gate.of(sum.x), gate.of(sum.y)});
      }
    } else {
      Base::add_to_residual(pair, sum);
    }
  }

  /// Rounds an input of the contraction, by whole warps that have a block, or two of them one.
  __device__ void send_rounded(unsigned* to, int input, float value) const {
    const int lane = thread_ % 32;
    unsigned largest =
        __reduce_max_sync(kAllLanes, max(kLeastLargest, __float_as_uint(value) & 0x7FFFFFFFU));
    if (kind_.block_pieces == 2) {
      if (lane == 0) {
        largest_[thread_ / 32] = largest;
      }
      asm volatile("barrier.sync 2, 64;" ::: "memory");
      largest = max(largest_[0], largest_[1]);
      asm volatile("barrier.sync 2, 64;" ::: "memory");
    }
    const float of_block = __uint_as_float(largest);
    const int rounded = rounded_to_byte(value * (127.0F / of_block));
    const int sum = __reduce_add_sync(kAllLanes, rounded);
    unsigned word = rounded_exchange::byte_of(rounded, input);
    word |= __shfl_xor_sync(kAllLanes, word, 1);
    word |= __shfl_xor_sync(kAllLanes, word, 2);
    if (lane % 4 == 0) {
      send(to + rounded_exchange::value_word(input), rounded_exchange::to_send(word));
    }
    if (lane == 0) {
      send(to + rounded_exchange::block_word(args_.sizes.inner, input / kPieceInputs),
           float2{largest < 0x7F800000U ? of_block / 127.0F : nanf(""),
                  __int_as_float(rounded_exchange::sum_to_send(sum))});
    }
  }

  unsigned* largest_;
  QuantizedTokenRow first_;  // of the first token
  QuantizedDecoderWeights weights_;
  unsigned char* room_;
  QuantizedDecoderAttention<Cache, kHeadDim, kTokens> attention_;
  QuantizedKind kind_;    // of the product at hand
  const float* vectors_;  // of the layer
};

}  // namespace kvcache::kernels
