// The attention of a fused decoder: a block per head of keys and split of its past, a warp per
// eight positions, for all query heads that share those keys. Scores and sums of values come from
// tensor cores; exponents are of base 2.
#pragma once

#include "kernels/cuda/decoder_inputs.cuh"
#include "kernels/cuda/decoder_past.cuh"

namespace kvcache::kernels {

/// Of an 8×8 matrix that has a row in four lanes each, pairs of columns in one: its transpose.
__device__ inline unsigned transposed(unsigned pair) {
  unsigned result = 0;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

template <typename T, int kHeadDim, int kTokens>
class DecoderAttention {
 public:
  __device__ DecoderAttention(const DecoderKernelArgs<DecoderArgs<T>>& args, unsigned char* room,
                              FusedDecoderStatic<kTokens>& shared)
      : args_(args.step),
        exchange_(args.exchange),
        room_(reinterpret_cast<float*>(room)),
        shared_(shared),
        group_(args.group),
        place_(SplitOfPast::of<kTokens>(args.step, args.exchange, static_cast<int>(blockIdx.x))),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32),
        units_(place_.units()) {}

  [[nodiscard]] __device__ bool takes_part() const { return place_.kv_head < args_.sizes.kv_heads; }

  /// The angles of the positions of the new tokens that are seen, once.
  __device__ void load_angles() {
    for (int seen = 0; seen < (kTokens == 1 ? 1 : place_.seen); ++seen) {
      load_decoder_angles(args_, args_.inputs.tokens[place_.seen_token(seen)].position,
                          shared_.of_any.cos[seen], shared_.of_any.sin[seen]);
    }
  }

  /// Brings the past of a layer into the second-level cache.
  __device__ void fetch(int layer) const {
    fetch_past<kHeadDim>(args_, place_, units_, warp_, lane_, layer);
  }

  /// Waits for the queries, attends, appends the new key and value, and hands over the softmax.
  __device__ void run(int layer, unsigned* words) {
    keys_ = args_.pools[2 * layer];
    values_ = args_.pools[2 * layer + 1];
    if (warp_ < units_) {
      ahead_ = load(warp_);
    }
    receive_vectors(layer, words);
    sync_decoder_warps();
    attend(args_.scales[layer] * kLog2E);
    sync_decoder_warps();
    merge(words);
    if (layer + 1 < args_.sizes.layers) {
      fetch(layer + 1);
    }
    sync_decoder_warps();
  }

 private:
  static constexpr int kVectors = kHeadDim / 32;  // of 16 bytes that a lane has of a position
  static constexpr int kWords = kHeadDim / 2;
  static constexpr float kLog2E = 1.4426950408889634F;

  struct Unit {
    uint4 keys[kVectors];
    uint4 values[kVectors];
  };

  /// Where a position lies in a pool, in vectors of head_dim.
  [[nodiscard]] __device__ std::int64_t row_of(int position) const {
    return decoder_row(args_, place_.table_at, place_.kv_head, position);
  }

  /// The warp's `number`-th unit of the split: position lane / 4 of it, and four times eight
  /// neighbouring elements. What is not there, or not yet, is zero.
  [[nodiscard]] __device__ Unit load(int number) const {
    const int position = place_.first + number * kDecoderUnit + lane_ / 4;
    const bool exists = position < place_.end && position < place_.past;
    const std::int64_t at = exists ? row_of(position) * kHeadDim : 0;
    const auto* const keys = reinterpret_cast<const uint4*>(keys_ + at) + lane_ % 4;
    const auto* const values = reinterpret_cast<const uint4*>(values_ + at) + lane_ % 4;
    Unit unit;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const uint4 none{0, 0, 0, 0};
      unit.keys[i] = exists ? keys[4 * i] : none;
      unit.values[i] = exists ? values[4 * i] : none;
    }
    return unit;
  }

  /// Queries, then the keys and values of the new tokens in this split; the warps in turns.
  __device__ void receive_vectors(int layer, const unsigned* qkv) {
    const int vectors = group_ + 2 * place_.new_tokens();
#pragma unroll 1
    for (int vector = warp_; vector < vectors; vector += kDecoderWarps) {
      receive_vector(layer, vector, qkv);
    }
  }

  __device__ void receive_vector(int layer, int vector, const unsigned* qkv) {
    const auto [is_query, is_value, seen, number] =
        VectorOfBlock(args_.sizes, place_, group_, vector);
    const unsigned* from = qkv + place_.seen_token(seen) * exchange_.words + number * kWords;
    const auto arriving = receive_paced<kWords / 32>([&](Arriving<kWords / 32>& to) {
      to.template poll_one<0>(from + lane_);
      if constexpr (kWords > 32) {
        to.template poll_one<1>(from + 32 + lane_);
      }
    });
    unsigned words[kWords / 32];
#pragma unroll
    for (int i = 0; i < kWords / 32; ++i) {
      words[i] = arriving.words[i];
    }
    if (!is_value) {
      prepare(layer, is_query, seen, room_ + vector * kHeadDim, words);
    }
    auto* const to = reinterpret_cast<unsigned*>(is_query   ? shared_.queries
                                                 : is_value ? shared_.values[seen]
                                                            : shared_.keys[seen]) +
                     (is_query ? vector * kWords : 0);
    const bool appends = !is_query && seen == place_.seen - 1;  // the others have blocks of theirs
    auto* const pool = reinterpret_cast<unsigned*>(is_value ? values_ : keys_);
    const std::int64_t at = appends ? row_of(place_.append_at) * kWords : 0;
#pragma unroll
    for (int i = 0; i < kWords / 32; ++i) {
      to[32 * i + lane_] = words[i];
      if (appends) {
        pool[at + 32 * i + lane_] = words[i];
      }
    }
  }

  /// Norms and turns a query or a key.
  __device__ void prepare(int layer, bool is_query, int seen, float* vector,
                          unsigned* words) const {
#pragma unroll
    for (int i = 0; i < kWords / 32; ++i) {
      *reinterpret_cast<float2*>(vector + 64 * i + 2 * lane_) = values_of<T>(words[i]);
    }
    __syncwarp();
    norm_and_turn<kHeadDim>(args_, shared_.of_any.cos[seen], shared_.of_any.sin[seen], layer,
                            is_query, vector);
#pragma unroll
    for (int i = 0; i < kWords / 32; ++i) {
      const float2 pair = *reinterpret_cast<const float2*>(vector + 64 * i + 2 * lane_);
      words[i] = pair_of<T>(pair.x, pair.y);
    }
  }

  /// The warp's units: a lane has the scores of head lane / 4.
  __device__ void attend(float scale) {
    uint4 query[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      query[i] = lane_ / 4 < group_
                     ? shared_.queries[lane_ / 4 * (kHeadDim / 8) + 4 * i + lane_ % 4]
                     : uint4{0, 0, 0, 0};
    }
    float max = -FLT_MAX;
    float sum = 0;
    float2 value[kVectors][4] = {};
#pragma unroll 1
    for (int number = warp_; number < units_; number += kDecoderWarps) {
      Unit unit = ahead_;
      if (number + kDecoderWarps < units_) {
        ahead_ = load(number + kDecoderWarps);
      }
      const int first_position = place_.first + number * kDecoderUnit;
      const int seen = first_position + lane_ / 4 - place_.past;
      if (kTokens == 1 ? seen == 0 : seen >= 0 && seen < place_.seen) {
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
          unit.keys[i] = shared_.keys[kTokens == 1 ? 0 : seen][4 * i + lane_ % 4];
          unit.values[i] = shared_.values[kTokens == 1 ? 0 : seen][4 * i + lane_ % 4];
        }
      }
      StripSums scores;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        scores.add<T>(unit.keys[i], query[i]);
      }
      const float2 pair = scores.of_row();
      const int count = place_.end - first_position;
      const bool has_first = 2 * (lane_ % 4) < count;
      const bool has_second = 2 * (lane_ % 4) + 1 < count;
      const float first = has_first ? pair.x * scale : -FLT_MAX;
      const float second = has_second ? pair.y * scale : -FLT_MAX;
      float raised = fmaxf(max, fmaxf(first, second));
      raised = fmaxf(raised, __shfl_xor_sync(kAllLanes, raised, 1));
      raised = fmaxf(raised, __shfl_xor_sync(kAllLanes, raised, 2));
      const float factor = exp2_of(max - raised);
      max = raised;
      const float2 weight{has_first ? exp2_of(first - max) : 0.0F,
                          has_second ? exp2_of(second - max) : 0.0F};
      sum = sum * factor + weight.x + weight.y;
      // Rounded weights, and what rounding took from them, with the same values.
      const unsigned high = pair_of<T>(weight.x, weight.y);
      const float2 rounded = values_of<T>(high);
      const unsigned low = pair_of<T>(weight.x - rounded.x, weight.y - rounded.y);
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const unsigned words[4]{unit.values[i].x, unit.values[i].y, unit.values[i].z,
                                unit.values[i].w};
#pragma unroll
        for (int w = 0; w < 4; ++w) {
          const unsigned of_positions = transposed(words[w]);
          float sums[4]{value[i][w].x * factor, value[i][w].y * factor, 0.0F, 0.0F};
          multiply_add<T>(sums, {high, 0, low, 0}, of_positions, of_positions);
          value[i][w] = {sums[0], sums[1]};
        }
      }
    }
    sum = sum_of_lanes<4>(sum);
    if (warp_ < units_ && lane_ / 4 < group_) {
      float* const to = room_ + (warp_ * group_ + lane_ / 4) * kHeadDim + lane_ % 4 * 8;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
#pragma unroll
        for (int w = 0; w < 4; ++w) {
          *reinterpret_cast<float2*>(to + 32 * i + 2 * w) = value[i][w];
        }
      }
      if (lane_ % 4 == 0) {
        shared_.of_any.softmaxes[warp_][lane_ / 4] = {max, sum};
      }
    }
  }

  /// The warps' softmaxes to one per head, sent.
  __device__ void merge(unsigned* words) const {
    words += place_.token * exchange_.words;
    const int warps = units_ < kDecoderWarps ? units_ : kDecoderWarps;
    merge_parts<kHeadDim>(
        shared_.of_any, room_, warps, group_,
        [&](int head, int pair, float2 value, float2 softmax) {
          const int part = (place_.kv_head * group_ + head) * exchange_.splits + place_.split;
          send(words + exchange_.attended + part * kWords + pair, pair_of<T>(value.x, value.y));
          if (pair == 0) {
            send(words + exchange_.softmaxes + 2 * part, softmax);
          }
        });
  }

  const DecoderArgs<T>& args_;
  const DecoderExchange& exchange_;
  float* room_;
  FusedDecoderStatic<kTokens>& shared_;
  int group_;
  SplitOfPast place_;
  int lane_;
  int warp_;
  int units_;
  T* keys_ = nullptr;
  T* values_ = nullptr;
  Unit ahead_ = {};
};

/// Eight neighbouring elements of what each token attended to, from its splits' softmaxes.
template <typename T, int kHeadDim, int kTokens>
__device__ void receive_attended(const unsigned* words, const DecoderExchange& exchange, int count,
                                 int at, bool has, Octet (&attended)[kTokens]) {
  const int head = at / kHeadDim;
  const int part = head * exchange.splits;
  const unsigned* const softmaxes = words + exchange.softmaxes + 2 * part;
  const unsigned* const values =
      words + exchange.attended + part * (kHeadDim / 2) + at % kHeadDim / 2;
  constexpr int kWords = 12;  // of a token's two splits
  SplitsMerged merged[kTokens];
#pragma unroll 1
  for (int split = 0; split < exchange.splits; split += 2) {
    const bool second = split + 1 < exchange.splits;
    const auto arriving = receive_paced<kWords * kTokens>([&](Arriving<kWords * kTokens>& to) {
      for_tokens<kTokens>([&](auto token) {
        constexpr int kFirst = kWords * decltype(token)::value;
        const int of_token = token * exchange.words;
        if (has && (kTokens == 1 || token < count)) {
          to.template poll_two<kFirst>(softmaxes + of_token + 2 * split);
          to.template poll_four<kFirst + 4>(values + of_token + split * (kHeadDim / 2));
          if (second) {
            to.template poll_two<kFirst + 2>(softmaxes + of_token + 2 * split + 2);
            to.template poll_four<kFirst + 8>(values + of_token + (split + 1) * (kHeadDim / 2));
          }
        }
      });
    });
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const unsigned* const of_token = arriving.words + kWords * t;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (i == 0 || second) {
          merged[t].add(__uint_as_float(of_token[2 * i]), __uint_as_float(of_token[2 * i + 1]),
                        Octet::of<T>({of_token[4 + 4 * i], of_token[5 + 4 * i], of_token[6 + 4 * i],
                                      of_token[7 + 4 * i]}));
        }
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    attended[t] = merged[t].total();
  }
}

}  // namespace kvcache::kernels
