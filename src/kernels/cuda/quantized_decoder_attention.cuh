// The attention of a quantised decoder, in float32: a block per head of keys and split of its past,
// whose warps have a query head each, or several a part of the split's positions each. Four lanes
// have a position, eight positions are a warp's at once. Exponents are of base 2.
#pragma once

#include <type_traits>

#include "kernels/cuda/decoder_past.cuh"
#include "kernels/cuda/quantized_decoder_weights.cuh"

namespace kvcache::kernels {

template <typename Cache, int kHeadDim, int kTokens>
class QuantizedDecoderAttention {
 public:
  using Args = QuantizedDecoderArgs<Cache>;

  __device__ QuantizedDecoderAttention(const DecoderKernelArgs<Args>& args, unsigned char* room,
                                       QuantizedDecoderStatic<kTokens>& shared)
      : args_(args.step),
        exchange_(args.exchange),
        room_(reinterpret_cast<float*>(room)),
        shared_(shared),
        group_(args.group),
        place_(SplitOfPast::of<kTokens>(args.step, args.exchange, static_cast<int>(blockIdx.x))),
        parts_(warps_of_head(args.step.sizes, place_.units())),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32),
        head_(warp_ % args.group),
        part_(warp_ / args.group) {}

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
    fetch_past<kHeadDim>(args_, place_, place_.units(), warp_, lane_, layer);
  }

  /// Waits for the queries, attends, appends the new key and value, and hands over the softmax.
  __device__ void run(int layer, unsigned* words) {
    keys_ = args_.pools[2 * layer];
    values_ = args_.pools[2 * layer + 1];
    if (part_ < parts_) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        ahead_[i] = load(part_ + i * parts_);
      }
    }
    receive_vectors(layer, words);
    sync_decoder_warps();
    if (part_ < parts_) {
      attend(args_.scales[layer] * kLog2E, words);
    }
    if (parts_ > 1) {
      sync_decoder_warps();
      merge(words);
    }
    if (layer + 1 < args_.sizes.layers) {
      fetch(layer + 1);
    }
    sync_decoder_warps();
  }

 private:
  static constexpr int kElements = kHeadDim / 4;  // that a lane has of a position
  static constexpr int kVector = 16 / static_cast<int>(sizeof(Cache));
  static constexpr int kVectors = kElements / kVector;
  static constexpr int kAhead = kHeadDim <= 64 ? 2 : 1;  // units of a warp on their way
  static constexpr float kLog2E = 1.4426950408889634F;
  using Part = Vector<Cache, kVector>;

  struct Unit {
    Part keys[kVectors];
    Part values[kVectors];
  };

  /// Which of a head's elements the lane's i-th vector begins with.
  [[nodiscard]] __device__ int element(int i) const { return (4 * i + lane_ % 4) * kVector; }

  /// Where a position lies in a pool.
  [[nodiscard]] __device__ std::int64_t row_of(int position) const {
    return decoder_row(args_, place_.table_at, place_.kv_head, position) * kHeadDim;
  }

  /// The split's `number`-th unit, the lane's part of its position. What is not there, or not yet,
  /// is zero.
  [[nodiscard]] __device__ Unit load(int number) const {
    const int position = place_.first + number * kDecoderUnit + lane_ / 4;
    const bool exists = position < place_.end && position < place_.past;
    const std::int64_t at = exists ? row_of(position) : 0;
    Unit unit;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      unit.keys[i] = Part::load_if(exists, keys_ + at + element(i));
      unit.values[i] = Part::load_if(exists, values_ + at + element(i));
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
    constexpr int kPairs = kHeadDim / 64;  // of a lane
    const auto [is_query, is_value, seen, number] =
        VectorOfBlock(args_.sizes, place_, group_, vector);
    const unsigned* const from =
        qkv + place_.seen_token(seen) * exchange_.words + number * kHeadDim + 2 * lane_;
    const auto arriving = receive_paced<2 * kPairs>([&](Arriving<2 * kPairs>& to) {
      to.template poll_two<0>(from);
      if constexpr (kPairs > 1) {
        to.template poll_two<2>(from + 64);
      }
    });
    float* const to = is_query   ? shared_.queries[vector]
                      : is_value ? shared_.values[seen]
                                 : shared_.keys[seen];
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      *reinterpret_cast<float2*>(to + 64 * i + 2 * lane_) = {
          __uint_as_float(arriving.words[2 * i]), __uint_as_float(arriving.words[2 * i + 1])};
    }
    __syncwarp();
    if (!is_value) {
      norm_and_turn<kHeadDim>(args_, shared_.of_any.cos[seen], shared_.of_any.sin[seen], layer,
                              is_query, to);
    }
    if (!is_query) {
      const bool appends = seen == place_.seen - 1;  // the others have blocks of theirs
      keep(to, appends ? (is_value ? values_ : keys_) + row_of(place_.append_at) : nullptr);
    }
  }

  /// Rounds a vector as the cache keeps it, and appends it where it goes into a pool.
  __device__ void keep(float* vector, Cache* pool) const {
#pragma unroll
    for (int i = lane_; i < kHeadDim; i += 32) {
      const Cache kept = from_float<Cache>(vector[i]);
      if (kTokens == 1 || pool != nullptr) {
        pool[i] = kept;
      }
      vector[i] = to_float(kept);
    }
  }

  /// The warp's units of its head.
  __device__ void attend(float scale, unsigned* words) {
    float query[kElements];
    for_elements([&](int at, int element) { query[at] = shared_.queries[head_][element]; });
    float max = -FLT_MAX;  // of the lane's positions
    float sum = 0;
    float values[kElements] = {};
#pragma unroll 1
    for (int first = part_; first < place_.units(); first += kAhead * parts_) {
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int number = first + a * parts_;
        if (number < place_.units()) {
          attend(number, ahead_[a], query, scale, max, sum, values);
          ahead_[a] = load(number + kAhead * parts_);
        }
      }
    }
    hand_over(max, sum, values, words);
  }

  /// One unit.
  __device__ void attend(int number, const Unit& unit, const float (&query)[kElements], float scale,
                         float& max, float& sum, float (&values)[kElements]) const {
    float keys[kElements];
    float added[kElements];
    widen(unit.keys, keys);
    widen(unit.values, added);
    const int position = place_.first + number * kDecoderUnit + lane_ / 4;
    const int seen = position - place_.past;
    if (kTokens == 1 ? seen == 0 : seen >= 0 && seen < place_.seen) {
      for_elements([&](int at, int element) {
        keys[at] = shared_.keys[kTokens == 1 ? 0 : seen][element];
        added[at] = shared_.values[kTokens == 1 ? 0 : seen][element];
      });
    }
    float scores[4] = {};  // so many chains of additions
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      scores[i % 4] = fmaf(query[i], keys[i], scores[i % 4]);
    }
    const float score = sum_of_lanes<4>(scores[0] + scores[1] + (scores[2] + scores[3])) * scale;
    const bool exists = position < place_.end;
    const float raised = fmaxf(max, exists ? score : -FLT_MAX);
    const float factor = exp2_of(max - raised);
    const float weight = exists ? exp2_of(score - raised) : 0.0F;
    max = raised;
    sum = fmaf(sum, factor, weight);
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      values[i] = fmaf(weight, added[i], values[i] * factor);
    }
  }

  /// The softmax of the warp's lanes, to the block, or sent.
  __device__ void hand_over(float max, float sum, float (&values)[kElements],
                            unsigned* words) const {
    float largest = max;
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, offset));
    }
    const float factor = exp2_of(max - largest);
    sum *= factor;
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, offset);
    }
#pragma unroll
    for (float& value : values) {
      value *= factor;
    }
    int first = share_sums<kElements / 2, 16>(values);
    first += share_sums<kElements / 4, 8>(values);
    first += share_sums<kElements / 8, 4>(values);
    const int at = element(first / kVector) + first % kVector;
    if (parts_ == 1) {
      const float share = share_of_sum(sum);
#pragma unroll
      for (int i = 0; i < kElements / 8; i += 2) {
        send(attended_at(words, head_) + at + i, float2{values[i] * share, values[i + 1] * share});
      }
      if (lane_ == 0) {
        send(softmax_at(words, head_), float2{largest, sum});
      }
      return;
    }
    float* const to = room_ + warp_ * kHeadDim + at;
#pragma unroll
    for (int i = 0; i < kElements / 8; ++i) {
      to[i] = values[i];
    }
    if (lane_ == 0) {
      shared_.of_any.softmaxes[part_][head_] = {largest, sum};
    }
  }

  /// Where a head's results of this split belong in the exchange.
  [[nodiscard]] __device__ int split_of(int head) const {
    return (place_.kv_head * group_ + head) * exchange_.splits + place_.split;
  }
  [[nodiscard]] __device__ unsigned* attended_at(unsigned* words, int head) const {
    return words + place_.token * exchange_.words + exchange_.attended + split_of(head) * kHeadDim;
  }
  [[nodiscard]] __device__ unsigned* softmax_at(unsigned* words, int head) const {
    return words + place_.token * exchange_.words + exchange_.softmaxes + 2 * split_of(head);
  }

  /// The parts' softmaxes to one per head, sent.
  __device__ void merge(unsigned* words) const {
    merge_parts<kHeadDim>(shared_.of_any, room_, parts_, group_,
                          [&](int head, int pair, float2 value, float2 softmax) {
                            send(attended_at(words, head) + 2 * pair, value);
                            if (pair == 0) {
                              send(softmax_at(words, head), softmax);
                            }
                          });
  }

  /// Calls work(i, element) for the lane's elements.
  template <typename Work>
  __device__ void for_elements(const Work& work) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
#pragma unroll
      for (int e = 0; e < kVector; ++e) {
        work(i * kVector + e, element(i) + e);
      }
    }
  }

  __device__ static void widen(const Part (&from)[kVectors], float (&to)[kElements]) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      float elements[kVector];
      kernels::widen(from[i], elements);
#pragma unroll
      for (int e = 0; e < kVector; ++e) {
        to[i * kVector + e] = elements[e];
      }
    }
  }

  const Args& args_;
  const DecoderExchange& exchange_;
  float* room_;
  QuantizedDecoderStatic<kTokens>& shared_;
  int group_;
  SplitOfPast place_;
  int parts_;  // of the split's positions
  int lane_;
  int warp_;
  int head_;  // of the group
  int part_;
  Cache* keys_ = nullptr;
  Cache* values_ = nullptr;
  Unit ahead_[kAhead] = {};
};

/// Eight neighbouring elements of what each token attended to, from its splits' softmaxes.
template <int kHeadDim, int kTokens>
__device__ void receive_attended_floats(const unsigned* words, const DecoderExchange& exchange,
                                        int count, int at, bool has, Octet (&attended)[kTokens]) {
  const int part = at / kHeadDim * exchange.splits;
  const unsigned* const softmaxes = words + exchange.softmaxes + 2 * part;
  const unsigned* const values = words + exchange.attended + part * kHeadDim + at % kHeadDim;
  constexpr int kAtOnce = 4 / kTokens;  // splits
  constexpr int kWords = 10;            // of a split of a token
  SplitsMerged merged[kTokens];
#pragma unroll 1
  for (int first = 0; first < exchange.splits; first += kAtOnce) {
    const auto arriving = receive_paced<4 * kWords>([&](auto& to) {
      const auto poll_split = [&](auto number) {
        constexpr int kNumber = decltype(number)::value;
        constexpr int kToken = kNumber / kAtOnce;
        const int split = first + kNumber % kAtOnce;
        if (has && split < exchange.splits && (kTokens == 1 || kToken < count)) {
          const int of_token = kToken * exchange.words;
          to.template poll_two<2 * kNumber>(softmaxes + of_token + 2 * split);
          const unsigned* const from = values + of_token + split * kHeadDim;
          to.template poll_four<8 + 8 * kNumber>(from);
          to.template poll_four<8 + 8 * kNumber + 4>(from + 4);
        }
      };
      for_tokens<4>(poll_split);
    });
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first + i % kAtOnce < exchange.splits) {
        Octet one;
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          one.values[e] = __uint_as_float(arriving.words[8 + 8 * i + e]);
        }
        merged[i / kAtOnce].add(__uint_as_float(arriving.words[2 * i]),
                                __uint_as_float(arriving.words[2 * i + 1]), one);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    attended[t] = merged[t].total();
  }
}

}  // namespace kvcache::kernels
