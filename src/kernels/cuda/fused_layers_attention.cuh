// The attention of fused_layers.cu: a group of warps for 16 queries of a row and head, each warp
// every so manieth 16 positions. Two such chunks are on their way to a warp's shared memory, and of
// the past already while the queries are computed.
#pragma once

#include <cfloat>

#include "kernels/cuda/exchange.cuh"
#include "kernels/cuda/fused_block.cuh"
#include "kernels/cuda/fused_layers.hpp"
#include "kernels/cuda/fused_layers_plan.hpp"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {

/// 16 bytes from device to shared memory, or as many zeros.
__device__ inline void copy_or_clear(void* to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(exists ? 16 : 0)
               : "memory");
}

__device__ inline void prefetch_line(const void* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

/// What the attention reads of the launch's inputs, in shared memory.
struct LayersInputsShared {
  std::uint64_t sees[kMaxLayersTokens];
  LayersTile tiles[kMaxLayersTokens];
  int2 append[kMaxLayersTokens];  // a token's block, and where in it its key and value go
  std::int32_t block_table[kMaxLayersTable];

  /// By all threads; a barrier of the block before anybody reads.
  __device__ void bring(const LayersInputs& inputs, int block_len_shift) {
    const auto thread = static_cast<int>(threadIdx.x);
    if (thread < inputs.tokens_count) {
      const LayersToken& token = inputs.tokens[thread];
      const int number = token.append_at >> block_len_shift;
      sees[thread] = token.sees;
      append[thread] = {inputs.block_table[token.table_at + number],
                        token.append_at - (number << block_len_shift)};
    }
    if (thread < inputs.tiles_count) {
      tiles[thread] = inputs.tiles[thread];
    }
    for (int i = thread; i < inputs.table_count; i += kLayersThreads) {
      block_table[i] = inputs.block_table[i];
    }
  }
};

/// What a warp knows of its 16 queries: lane = 4 · g + t has rows g and g + 8, of dims 8 · i + 2 ·
/// t and the next one.
template <int kHeadDim>
struct TileSoftmax {
  float max[2] = {-FLT_MAX, -FLT_MAX};
  float sum[2] = {};
  float value[kHeadDim / 8][4] = {};
};

template <typename T, int kHeadDim>
class LayersAttention {
 public:
  static constexpr int kKeys = 16;  // of a chunk
  static constexpr int kStages = 2;
  static constexpr int kVectors = kHeadDim / 8;               // of a key, in 16 bytes
  static constexpr int kStageVectors = 2 * kKeys * kVectors;  // keys, then values
  /// A warp's part of shared memory. When it is through, its softmaxes are there: each row's
  /// largest score and sum, then its values.
  static constexpr int kWarpBytes = kStages * kStageVectors * 16;
  static_assert(4 * (2 * kLayersTileRows + kLayersTileRows * kHeadDim) <= kWarpBytes);

  __device__ LayersAttention(const FusedStepArgs<T>& args, const LayersInputsShared& inputs,
                             const LayersRoom<T>& room, int tiles)
      : args_(args),
        inputs_(inputs),
        room_(room),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32),
        units_(tiles * args.sizes.heads) {
    const int warps = static_cast<int>(gridDim.x) * kLayersWarps;
    warps_log_ = kLayersWarpsLog;
    while (warps_log_ > 0 && units_ << warps_log_ > warps) {
      --warps_log_;
    }
    of_block_ = kLayersWarps >> warps_log_;
  }

  /// Asks for a layer's past of this block's units to come nearer.
  __device__ void prefetch(int layer) const {
#pragma unroll 1
    for (int unit = first_unit(); unit < units_; unit += static_cast<int>(gridDim.x) * of_block_) {
      const LayersTile& tile = inputs_.tiles[unit / args_.sizes.heads];
      const int head = unit % args_.sizes.heads;
#pragma unroll 1
      for (int position = part() * 32 + lane_; position < tile.past_length;
           position += parts() * 32) {
        const std::int64_t at = row_of(tile, head, position) * kHeadDim;
#pragma unroll
        for (int line = 0; line < kHeadDim; line += 64) {
          prefetch_line(args_.pools[2 * layer] + at + line);
          prefetch_line(args_.pools[2 * layer + 1] + at + line);
        }
      }
    }
  }

  /// Starts to bring the past that the warp attends to first, of a layer whose queries are still to
  /// come; `shared` is kWarpBytes of each warp.
  __device__ void begin(int layer, unsigned char* shared) const {
    const int unit = first_unit();
    if (unit < units_) {
      const Unit mine = unit_of(layer, unit);
#pragma unroll 1
      for (int stage = 0; stage < kStages; ++stage) {
        const int chunk = part() + stage * parts();
        if (chunk < mine.past_chunks) {
          bring(mine, chunk, stage_of(shared, stage));
        }
        commit();
      }
    }
  }

  /// By all warps, after begin().
  __device__ void run(int layer, unsigned char* shared, unsigned* attended) const {
    float* const own = reinterpret_cast<float*>(shared + warp_ * kWarpBytes);
#pragma unroll 1
    for (int unit = first_unit(), begun = 1; unit - (warp_ >> warps_log_) < units_;
         unit += static_cast<int>(gridDim.x) * of_block_, begun = 0) {
      const bool has = unit < units_;
      const Unit mine = unit_of(layer, has ? unit : 0);
      if (has && part() < mine.chunks) {
        TileSoftmax<kHeadDim> softmax;
        attend(mine, shared, begun != 0, softmax);
        keep(softmax, mine.tile.count, own);
      }
      __syncthreads();
      if (has) {
        merge(mine, min(parts(), mine.chunks),
              reinterpret_cast<const float*>(shared +
                                             (warp_ >> warps_log_ << warps_log_) * kWarpBytes),
              attended);
      }
      __syncthreads();
    }
  }

 private:
  static constexpr float kLog2E = 1.4426950408889634F;

  /// Of the warps that share a unit, this one; and how many they are.
  [[nodiscard]] __device__ int part() const { return warp_ & ((1 << warps_log_) - 1); }
  [[nodiscard]] __device__ int parts() const { return 1 << warps_log_; }

  [[nodiscard]] __device__ int first_unit() const {
    return static_cast<int>(blockIdx.x) * of_block_ + (warp_ >> warps_log_);
  }

  /// Where a position lies in a pool, in rows of head_dim.
  [[nodiscard]] __device__ std::int64_t row_of(const LayersTile& tile, int head,
                                               int position) const {
    const int number = position >> args_.block_len_shift;
    const std::int64_t block = inputs_.block_table[tile.table_at + number];
    return ((block * args_.sizes.heads + head) << args_.block_len_shift) +
           (position - (number << args_.block_len_shift));
  }

  /// A tile of queries and a head. The past comes in chunks of two eights, then the row's new
  /// tokens, by the eights of positions that they lie in.
  struct Unit {
    LayersTile tile;
    int head;
    int past_chunks;
    int chunks;
    const T* keys;
    const T* values;
    float scale;
  };

  [[nodiscard]] __device__ Unit unit_of(int layer, int unit) const {
    Unit mine{inputs_.tiles[unit / args_.sizes.heads],
              unit % args_.sizes.heads,
              0,
              0,
              args_.pools[2 * layer],
              args_.pools[2 * layer + 1],
              args_.scales[layer] * kLog2E};
    mine.past_chunks = (mine.tile.past_length + kKeys - 1) / kKeys;
    const int new_eights =
        (mine.tile.append_at + mine.tile.row_tokens + 7) / 8 - mine.tile.append_at / 8;
    mine.chunks = mine.past_chunks + (new_eights + 1) / 2;
    return mine;
  }

  /// The first of the positions of one of a chunk's two eights.
  [[nodiscard]] __device__ static int position_of(const Unit& mine, int chunk, int eight) {
    return chunk < mine.past_chunks
               ? 8 * (2 * chunk + eight)
               : 8 * (mine.tile.append_at / 8 + 2 * (chunk - mine.past_chunks) + eight);
  }
  /// Whether there is a key at a position of it.
  [[nodiscard]] __device__ static bool exists(const Unit& mine, int chunk, int position) {
    return chunk < mine.past_chunks ? position < mine.tile.past_length
                                    : position >= mine.tile.append_at &&
                                          position < mine.tile.append_at + mine.tile.row_tokens;
  }

  /// Whether there is one at any of the eight from `position` on.
  [[nodiscard]] __device__ static bool exists_any(const Unit& mine, int chunk, int position) {
    return position < (chunk < mine.past_chunks ? mine.tile.past_length
                                                : mine.tile.append_at + mine.tile.row_tokens);
  }

  [[nodiscard]] __device__ uint4* stage_of(unsigned char* shared, int stage) const {
    return reinterpret_cast<uint4*>(shared + warp_ * kWarpBytes) + stage * kStageVectors;
  }
  __device__ static void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

  /// Vectors lie such that neither rows nor columns share banks.
  [[nodiscard]] __device__ static int vector_at(int row, int vector) {
    return row * kVectors + (vector ^ (row & 7));
  }

  /// A chunk's keys and values on their way.
  __device__ void bring(const Unit& mine, int chunk, uint4* stage) const {
    constexpr int kRowsAtOnce = 32 / kVectors;
    static_assert(8 % kRowsAtOnce == 0);
    const int vector = lane_ % kVectors;
    const int own_row = lane_ / kVectors;
#pragma unroll
    for (int eight = 0; eight < 2; ++eight) {
      const int position = position_of(mine, chunk, eight);
      const bool has = exists_any(mine, chunk, position);
      const std::int64_t at =
          has ? (row_of(mine.tile, mine.head, position) + own_row) * kHeadDim + vector * 8 : 0;
      const T* keys = mine.keys + at;
      const T* values = mine.values + at;
#pragma unroll
      for (int row = 0; row < 8; row += kRowsAtOnce) {
        const bool there = has && exists(mine, chunk, position + row + own_row);
        uint4* to = stage + vector_at(8 * eight + row + own_row, vector);
        copy_or_clear(to, keys + row * kHeadDim, there);
        copy_or_clear(to + kKeys * kVectors, values + row * kHeadDim, there);
      }
    }
  }

  __device__ void attend(const Unit& mine, unsigned char* shared, bool begun,
                         TileSoftmax<kHeadDim>& softmax) const {
    const int g = lane_ / 4;
    const int t = lane_ % 4;
    unsigned queries[kHeadDim / 16][4];
    std::uint64_t sees[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = g + 8 * half;
      const bool has = row < mine.tile.count;  // of few queries, the second half is nobody's
      const auto* from =
          reinterpret_cast<const unsigned*>(
              room_.queries + std::int64_t{mine.tile.first + row} * args_.sizes.hidden +
              mine.head * kHeadDim) +
          t;
      sees[half] = has ? inputs_.sees[mine.tile.first + row] : 0;
#pragma unroll
      for (int i = 0; i < kHeadDim / 16; ++i) {
        queries[i][half] = has ? __ldcg(from + 8 * i) : 0;
        queries[i][half + 2] = has ? __ldcg(from + 8 * i + 4) : 0;
      }
    }
    // What begin() could not bring yet.
#pragma unroll 1
    for (int stage = 0; stage < kStages; ++stage) {
      const int chunk = part() + stage * parts();
      if (chunk < mine.chunks && !(begun && chunk < mine.past_chunks)) {
        bring(mine, chunk, stage_of(shared, stage));
      }
      commit();
    }
#pragma unroll 1
    for (int chunk = part(), stage = 0; chunk < mine.chunks; chunk += parts(), stage ^= 1) {
      asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1) : "memory");
      __syncwarp();
      const uint4* keys = stage_of(shared, stage);
      attend(mine, chunk, keys, keys + kKeys * kVectors, queries, sees, softmax);
      __syncwarp();
      if (chunk + kStages * parts() < mine.chunks) {
        bring(mine, chunk + kStages * parts(), stage_of(shared, stage));
      }
      commit();
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncwarp();
#pragma unroll
    for (float& sum : softmax.sum) {
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
    }
  }

  /// A chunk that is there.
  __device__ void attend(const Unit& mine, int chunk, const uint4* keys, const uint4* values,
                         const unsigned (&queries)[kHeadDim / 16][4],
                         const std::uint64_t (&sees)[2], TileSoftmax<kHeadDim>& softmax) const {
    float scores[2][4] = {};
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      // Both eights, of both halves of 16 dims.
      unsigned key[4];
      load_matrices(keys + vector_at(lane_ % 8 + lane_ / 16 * 8, 2 * i + lane_ / 8 % 2), key);
      multiply_add<T>(scores[0], queries[i], key[0], key[1]);
      multiply_add<T>(scores[1], queries[i], key[2], key[3]);
    }
    if (kKeys * (chunk + 1) > mine.tile.past_length) {
      mask(mine, chunk, sees, scores);
    }
    unsigned weights[4] = {};
    take<0>(mine, scores, weights, softmax);
    if (mine.tile.count > 8) {
      take<1>(mine, scores, weights, softmax);
    }
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      unsigned value[4];
      load_transposed(
          reinterpret_cast<const T*>(values + vector_at(lane_ % 16, 2 * i + lane_ / 16)), value);
      multiply_add<T>(softmax.value[2 * i], weights, value[0], value[1]);
      multiply_add<T>(softmax.value[2 * i + 1], weights, value[2], value[3]);
    }
  }

  /// Scores of what a query does not see become the least.
  __device__ void mask(const Unit& mine, int chunk, const std::uint64_t (&sees)[2],
                       float (&scores)[2][4]) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = position_of(mine, chunk, j) + 2 * (lane_ % 4) + i;
        const bool there = exists(mine, chunk, at);
        const auto number = static_cast<unsigned>(at - mine.tile.append_at) & 63U;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const bool seen = there && (chunk < mine.past_chunks || (sees[half] >> number & 1U) != 0);
          scores[j][2 * half + i] = seen ? scores[j][2 * half + i] : -FLT_MAX;
        }
      }
    }
  }

  /// Eight queries' scores to weights, and what was summed before to the new largest one.
  template <int kHalf>
  __device__ void take(const Unit& mine, const float (&scores)[2][4], unsigned (&weights)[4],
                       TileSoftmax<kHeadDim>& softmax) const {
    // Products with -FLT_MAX would be infinite, and two of them no difference.
    const auto scaled = [&](float score) {
      return score == -FLT_MAX ? -FLT_MAX : score * mine.scale;
    };
    float own[4] = {scaled(scores[0][2 * kHalf]), scaled(scores[0][2 * kHalf + 1]),
                    scaled(scores[1][2 * kHalf]), scaled(scores[1][2 * kHalf + 1])};
    float largest = fmaxf(fmaxf(own[0], own[1]), fmaxf(own[2], own[3]));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    largest = fmaxf(largest, softmax.max[kHalf]);
    if (__any_sync(kAllLanes, largest > softmax.max[kHalf])) {
      const float factor = exp2_of(softmax.max[kHalf] - largest);
      softmax.max[kHalf] = largest;
      softmax.sum[kHalf] *= factor;
#pragma unroll
      for (auto& value : softmax.value) {
        value[2 * kHalf] *= factor;
        value[2 * kHalf + 1] *= factor;
      }
    }
#pragma unroll
    for (float& weight : own) {
      // Nothing that is seen is so small. Not a number stays so.
      weight = weight == -FLT_MAX ? 0.0F : exp2_of(weight - largest);
    }
    softmax.sum[kHalf] += (own[0] + own[1]) + (own[2] + own[3]);
    weights[kHalf] = pair_of<T>(own[0], own[1]);
    weights[2 + kHalf] = pair_of<T>(own[2], own[3]);
  }

  __device__ void keep(const TileSoftmax<kHeadDim>& softmax, int rows, float* own) const {
    const int g = lane_ / 4;
    const int t = lane_ % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = g + 8 * half;
      if (half == 1 && rows <= 8) {
        break;
      }
      if (t == 0) {
        own[2 * row] = softmax.max[half];
        own[2 * row + 1] = softmax.sum[half];
      }
      float* to = own + 2 * kLayersTileRows + row * kHeadDim + 2 * t;
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
        *reinterpret_cast<float2*>(to + 8 * i) = {softmax.value[i][2 * half],
                                                  softmax.value[i][2 * half + 1]};
      }
    }
  }

  /// The softmaxes of the unit's first `warps` warps to one, two elements a thread.
  __device__ void merge(const Unit& mine, int warps, const float* of_unit,
                        unsigned* attended) const {
    constexpr int kPairs = kHeadDim / 2;
    constexpr int kWarpFloats = kWarpBytes / 4;
#pragma unroll 1
    for (int i = part() * 32 + lane_; i < mine.tile.count * kPairs; i += parts() * 32) {
      const int row = i / kPairs;
      const int pair = i % kPairs;
      float max = -FLT_MAX;
      float sum = 0;
      float2 value{0, 0};
#pragma unroll 2
      for (int warp = 0; warp < warps; ++warp) {
        const float* of_warp = of_unit + warp * kWarpFloats;
        const float2 softmax = *reinterpret_cast<const float2*>(of_warp + 2 * row);
        const float2 one = *reinterpret_cast<const float2*>(of_warp + 2 * kLayersTileRows +
                                                            row * kHeadDim + 2 * pair);
        const float raised = fmaxf(max, softmax.x);
        const float before = exp2_of(max - raised);
        const float factor = exp2_of(softmax.x - raised);
        max = raised;
        sum = sum * before + softmax.y * factor;
        value = {value.x * before + one.x * factor, value.y * before + one.y * factor};
      }
      // Nothing seen: zero. Not a number stays so.
      const float scale = sum == 0.0F ? 0.0F : __fdividef(1.0F, sum);
      send(attended + (mine.tile.first + row) * (args_.sizes.hidden / 2) +
               shuffled_pair(mine.head * kPairs + pair),
           pair_of<T>(value.x * scale, value.y * scale));
    }
  }

  const FusedStepArgs<T>& args_;
  const LayersInputsShared& inputs_;
  const LayersRoom<T>& room_;
  int lane_;
  int warp_;
  int units_;      // a tile of queries and a head each
  int warps_log_;  // that share one
  int of_block_;   // units at a time
};

}  // namespace kvcache::kernels
