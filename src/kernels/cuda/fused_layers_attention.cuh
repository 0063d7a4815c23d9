// The attention of fused_layers.cu: a group of warps for 16 queries of a row and head, each warp
// every so manieth 16 positions. Two such chunks are on their way to a warp's shared memory, and of
// the past already while the queries are computed.
#pragma once

#include "kernels/cuda/exchange.cuh"
#include "kernels/cuda/tile_attention.cuh"

namespace kvcache::kernels {

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

template <typename T, int kHeadDim>
class LayersAttention {
 public:
  using Unit = HeadTile<T, kHeadDim>;
  static constexpr int kStages = 2;
  static constexpr int kStageVectors = Unit::kChunkVectors;
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
      const Unit mine = unit_of(layer, unit);
#pragma unroll 1
      for (int position = part() * 32 + lane_; position < mine.tile().past_length;
           position += parts() * 32) {
        const std::int64_t at = mine.at(position);
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
        if (chunk < mine.past_chunks()) {
          mine.bring(chunk, stage_of(shared, stage));
        }
        commit_copies();
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
      if (has && part() < mine.chunks()) {
        TileSoftmax<kHeadDim> softmax;
        attend(mine, shared, begun != 0, softmax);
        keep(softmax, mine.tile().count, own);
      }
      __syncthreads();
      if (has) {
        merge(mine, min(parts(), mine.chunks()),
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

  [[nodiscard]] __device__ Unit unit_of(int layer, int unit) const {
    const LayersTile& tile = inputs_.tiles[unit / args_.sizes.heads];
    return {tile,
            unit % args_.sizes.heads,
            args_.sizes.heads,
            inputs_.block_table + tile.table_at,
            args_.block_len_shift,
            args_.pools[2 * layer],
            args_.pools[2 * layer + 1],
            args_.scales[layer] * kLog2E};
  }

  [[nodiscard]] __device__ uint4* stage_of(unsigned char* shared, int stage) const {
    return reinterpret_cast<uint4*>(shared + warp_ * kWarpBytes) + stage * kStageVectors;
  }

  __device__ void attend(const Unit& mine, unsigned char* shared, bool begun,
                         TileSoftmax<kHeadDim>& softmax) const {
    const TileQueries<kHeadDim> queries = queries_of(mine);
    // What begin() could not bring yet.
#pragma unroll 1
    for (int stage = 0; stage < kStages; ++stage) {
      const int chunk = part() + stage * parts();
      if (chunk < mine.chunks() && !(begun && chunk < mine.past_chunks())) {
        mine.bring(chunk, stage_of(shared, stage));
      }
      commit_copies();
    }
#pragma unroll 1
    for (int chunk = part(), stage = 0; chunk < mine.chunks(); chunk += parts(), stage ^= 1) {
      wait_for_copies_but<kStages - 1>();
      __syncwarp();
      mine.attend(chunk, stage_of(shared, stage), queries, softmax);
      __syncwarp();
      if (chunk + kStages * parts() < mine.chunks()) {
        mine.bring(chunk + kStages * parts(), stage_of(shared, stage));
      }
      commit_copies();
    }
    wait_for_copies();
    __syncwarp();
    Unit::finish(softmax);
  }

  [[nodiscard]] __device__ TileQueries<kHeadDim> queries_of(const Unit& mine) const {
    const LayersTile& tile = mine.tile();
    TileQueries<kHeadDim> queries;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane_ / 4 + 8 * half;
      const bool has = row < tile.count;
      const auto* from = reinterpret_cast<const unsigned*>(
                             room_.queries + std::int64_t{tile.first + row} * args_.sizes.hidden +
                             mine.head() * kHeadDim) +
                         lane_ % 4;
      queries.sees[half] = has ? inputs_.sees[tile.first + row] : 0;
#pragma unroll
      for (int i = 0; i < kHeadDim / 16; ++i) {
        queries.pairs[i][half] = has ? __ldcg(from + 8 * i) : 0;
        queries.pairs[i][half + 2] = has ? __ldcg(from + 8 * i + 4) : 0;
      }
    }
    return queries;
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
    for (int i = part() * 32 + lane_; i < mine.tile().count * kPairs; i += parts() * 32) {
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
      send(attended + (mine.tile().first + row) * (args_.sizes.hidden / 2) +
               shuffled_pair(mine.head() * kPairs + pair),
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
