// The attention of fused_layers.cu: a group of warps for 16 queries of a row and head, each warp
// every so manieth 16 positions. Keys and values go from memory to registers as the matrix
// instruction takes them.
#pragma once

#include <cfloat>

#include "kernels/cuda/exchange.cuh"
#include "kernels/cuda/fused_block.cuh"
#include "kernels/cuda/fused_layers.hpp"
#include "kernels/cuda/fused_layers_plan.hpp"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {

/// An 8×8 matrix across the warp, transposed.
__device__ inline unsigned transposed(unsigned matrix) {
  unsigned result = 0;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(matrix));
  return result;
}

__device__ inline void prefetch_line(const void* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

/// What a warp knows of its 16 queries: lane = 4 · g + t has rows g and g + 8, of dims 32 · h +
/// 8 · t + 2 · i and the next one.
template <int kHeadDim>
struct TileSoftmax {
  static constexpr int kHalves = kHeadDim / 32;
  float max[2] = {-FLT_MAX, -FLT_MAX};
  float sum[2] = {};
  float value[kHalves][4][4] = {};
};

template <typename T, int kHeadDim>
class LayersAttention {
 public:
  static constexpr int kHalves = kHeadDim / 32;
  static constexpr int kKeys = 16;  // of a chunk
  /// In shared memory, of a warp: each row's largest score and sum, then its values.
  static constexpr int kSharedFloats = 2 * kLayersTileRows + kLayersTileRows * kHeadDim;

  __device__ LayersAttention(const FusedStepArgs<T>& args, const LayersInputs& inputs,
                             const LayersRoom<T>& room)
      : args_(args),
        inputs_(inputs),
        room_(room),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32) {
    const int units = inputs.tiles_count * args.sizes.heads;
    const int warps = static_cast<int>(gridDim.x) * kLayersWarps;
    warps_of_unit_ = kLayersWarps;
    while (warps_of_unit_ > 1 && units * warps_of_unit_ > warps) {
      warps_of_unit_ /= 2;
    }
  }

  /// Asks for a layer's past of this block's units to come nearer.
  __device__ void prefetch(int layer) const {
    each_unit([&](int tile_number, int head) {
      const LayersTile& tile = inputs_.tiles[tile_number];
      for (int position = part() * 32 + lane_; position < tile.past_length;
           position += warps_of_unit_ * 32) {
        const std::int64_t at = row_of(tile, head, position) * kHeadDim;
#pragma unroll
        for (int line = 0; line < kHeadDim; line += 64) {
          prefetch_line(args_.pools[2 * layer] + at + line);
          prefetch_line(args_.pools[2 * layer + 1] + at + line);
        }
      }
    });
  }

  /// By all computing warps. `shared`: kSharedFloats of each; `barrier` is one of these warps.
  template <typename Barrier>
  __device__ void run(int layer, float* shared, const Barrier& barrier) const {
    const int of_block = kLayersWarps / warps_of_unit_;
    const int units = inputs_.tiles_count * args_.sizes.heads;
#pragma unroll 1
    for (int first = static_cast<int>(blockIdx.x) * of_block; first < units;
         first += static_cast<int>(gridDim.x) * of_block) {
      const int unit = first + warp_ / warps_of_unit_;
      const bool has = unit < units;
      const LayersTile& tile = inputs_.tiles[has ? unit / args_.sizes.heads : 0];
      const int head = unit % args_.sizes.heads;
      if (has) {
        TileSoftmax<kHeadDim> softmax;
        attend(layer, tile, head, softmax);
        keep(softmax, shared + warp_ * kSharedFloats);
      }
      barrier();
      if (has) {
        merge(tile, head, shared + warp_ / warps_of_unit_ * warps_of_unit_ * kSharedFloats);
      }
      barrier();
    }
  }

 private:
  static constexpr float kLog2E = 1.4426950408889634F;

  [[nodiscard]] __device__ int part() const { return warp_ % warps_of_unit_; }

  template <typename Work>
  __device__ void each_unit(const Work& work) const {
    const int units = inputs_.tiles_count * args_.sizes.heads;
    const int of_block = kLayersWarps / warps_of_unit_;
#pragma unroll 1
    for (int unit = static_cast<int>(blockIdx.x) * of_block + warp_ / warps_of_unit_; unit < units;
         unit += static_cast<int>(gridDim.x) * of_block) {
      work(unit / args_.sizes.heads, unit % args_.sizes.heads);
    }
  }

  /// Where a position lies in a pool, in rows of head_dim.
  [[nodiscard]] __device__ std::int64_t row_of(const LayersTile& tile, int head,
                                               int position) const {
    const int number = position >> args_.block_len_shift;
    const std::int64_t block = inputs_.block_table[tile.table_at + number];
    return ((block * args_.sizes.heads + head) << args_.block_len_shift) +
           (position - (number << args_.block_len_shift));
  }

  __device__ void attend(int layer, const LayersTile& tile, int head,
                         TileSoftmax<kHeadDim>& softmax) const {
    const int g = lane_ / 4;
    const int t = lane_ % 4;
    const T* keys = args_.pools[2 * layer];
    const T* values = args_.pools[2 * layer + 1];
    const float scale = args_.scales[layer] * kLog2E;
    uint4 queries[2][kHalves];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = g + 8 * half;
      const T* from = room_.queries + std::int64_t{tile.first + row} * args_.sizes.hidden +
                      head * kHeadDim + t * 8;
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        queries[half][h] = row < tile.count ? __ldcg(reinterpret_cast<const uint4*>(from + 32 * h))
                                            : uint4{0, 0, 0, 0};
      }
    }
    // The past by eights, then the row's new tokens by the eights that they lie in.
    const int past_eights = (tile.past_length + 7) / 8;
    const int new_first = tile.append_at / 8;
    const int new_eights = (tile.append_at + tile.row_tokens + 7) / 8 - new_first;
    const int eights = past_eights + new_eights;
#pragma unroll 1
    for (int chunk = 2 * part(); chunk < eights; chunk += 2 * warps_of_unit_) {
      uint4 key[2][kHalves];
      uint4 value[2][kHalves];
      int position[2];  // of the eight
      bool is_new[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        is_new[j] = chunk + j >= past_eights;
        position[j] = 8 * (is_new[j] ? new_first + chunk + j - past_eights : chunk + j);
        if (chunk + j < eights) {
          const std::int64_t at = (row_of(tile, head, position[j]) + g) * kHeadDim + t * 8;
#pragma unroll
          for (int h = 0; h < kHalves; ++h) {
            key[j][h] = __ldcg(reinterpret_cast<const uint4*>(keys + at + 32 * h));
            value[j][h] = __ldcg(reinterpret_cast<const uint4*>(values + at + 32 * h));
          }
        } else {
#pragma unroll
          for (int h = 0; h < kHalves; ++h) {
            key[j][h] = {0, 0, 0, 0};
            value[j][h] = {0, 0, 0, 0};
          }
        }
        // What nobody has written yet may be anything, and zero times that not zero.
        const int own = position[j] + g;
        const bool exists = chunk + j < eights &&
                            (is_new[j] ? own >= tile.append_at &&
                                             own < tile.append_at + tile.row_tokens
                                       : own < tile.past_length);
        if (!exists) {
#pragma unroll
          for (int h = 0; h < kHalves; ++h) {
            value[j][h] = {0, 0, 0, 0};
          }
        }
      }
      float scores[2][4] = {};
#pragma unroll
      for (int j = 0; j < 2; ++j) {
#pragma unroll
        for (int h = 0; h < kHalves; ++h) {
          multiply_add<T>(scores[j],
                          {queries[0][h].x, queries[1][h].x, queries[0][h].y, queries[1][h].y},
                          key[j][h].x, key[j][h].y);
          multiply_add<T>(scores[j],
                          {queries[0][h].z, queries[1][h].z, queries[0][h].w, queries[1][h].w},
                          key[j][h].z, key[j][h].w);
        }
      }
      unsigned weights[4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = g + 8 * half;
        const std::uint64_t sees =
            row < tile.count ? inputs_.tokens[tile.first + row].sees : 0;
        float largest = softmax.max[half];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int at = position[j] + 2 * t + i;
            const int number = at - tile.append_at;  // of the row's new tokens
            const bool seen = chunk + j < eights && row < tile.count &&
                              (is_new[j] ? number >= 0 && number < tile.row_tokens &&
                                               (sees >> static_cast<unsigned>(number & 63) & 1U) != 0
                                         : at < tile.past_length);
            float& score = scores[j][2 * half + i];
            score = seen ? score * scale : -FLT_MAX;
            largest = fmaxf(largest, score);
          }
        }
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
        const float factor = exp2_of(softmax.max[half] - largest);
        softmax.max[half] = largest;
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float weight[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const float score = scores[j][2 * half + i];
            weight[i] = score == -FLT_MAX ? 0 : exp2_of(score - largest);
            sum += weight[i];
          }
          weights[2 * j + half] = pair_of<T>(weight[0], weight[1]);
        }
        softmax.sum[half] = softmax.sum[half] * factor + sum;
#pragma unroll
        for (int h = 0; h < kHalves; ++h) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            softmax.value[h][i][2 * half] *= factor;
            softmax.value[h][i][2 * half + 1] *= factor;
          }
        }
      }
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        const auto add = [&](int i, unsigned first, unsigned second) {
          multiply_add<T>(softmax.value[h][i], weights, transposed(first), transposed(second));
        };
        add(0, value[0][h].x, value[1][h].x);
        add(1, value[0][h].y, value[1][h].y);
        add(2, value[0][h].z, value[1][h].z);
        add(3, value[0][h].w, value[1][h].w);
      }
    }
#pragma unroll
    for (float& sum : softmax.sum) {
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
    }
  }

  __device__ void keep(const TileSoftmax<kHeadDim>& softmax, float* own) const {
    const int g = lane_ / 4;
    const int t = lane_ % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = g + 8 * half;
      if (t == 0) {
        own[2 * row] = softmax.max[half];
        own[2 * row + 1] = softmax.sum[half];
      }
      float* to = own + 2 * kLayersTileRows + row * kHeadDim + 8 * t;
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        reinterpret_cast<float4*>(to + 32 * h)[0] = {
            softmax.value[h][0][2 * half], softmax.value[h][0][2 * half + 1],
            softmax.value[h][1][2 * half], softmax.value[h][1][2 * half + 1]};
        reinterpret_cast<float4*>(to + 32 * h)[1] = {
            softmax.value[h][2][2 * half], softmax.value[h][2][2 * half + 1],
            softmax.value[h][3][2 * half], softmax.value[h][3][2 * half + 1]};
      }
    }
  }

  /// The unit's warps' softmaxes to one, four elements a thread.
  __device__ void merge(const LayersTile& tile, int head, const float* of_unit) const {
    constexpr int kVectors = kHeadDim / 4;
    for (int i = part() * 32 + lane_; i < tile.count * kVectors; i += warps_of_unit_ * 32) {
      const int row = i / kVectors;
      const int vector = i % kVectors;
      float max = -FLT_MAX;
      for (int warp = 0; warp < warps_of_unit_; ++warp) {
        max = fmaxf(max, of_unit[warp * kSharedFloats + 2 * row]);
      }
      float sum = 0;
      float4 value{0, 0, 0, 0};
      for (int warp = 0; warp < warps_of_unit_; ++warp) {
        const float* of_warp = of_unit + warp * kSharedFloats;
        const float factor = exp2_of(of_warp[2 * row] - max);
        sum += factor * of_warp[2 * row + 1];
        const float4 one = *reinterpret_cast<const float4*>(of_warp + 2 * kLayersTileRows +
                                                            row * kHeadDim + 4 * vector);
        value.x += factor * one.x;
        value.y += factor * one.y;
        value.z += factor * one.z;
        value.w += factor * one.w;
      }
      // Nothing seen: zero. Not a number stays so.
      const float scale = sum == 0.0F ? 0.0F : 1.0F / sum;
      T* to = room_.attended + std::int64_t{tile.first + row} * args_.sizes.hidden +
              head * kHeadDim + 4 * vector;
      *reinterpret_cast<uint2*>(to) = {pair_of<T>(value.x * scale, value.y * scale),
                                       pair_of<T>(value.z * scale, value.w * scale)};
    }
  }

  const FusedStepArgs<T>& args_;
  const LayersInputs& inputs_;
  const LayersRoom<T>& room_;
  int lane_;
  int warp_;
  int warps_of_unit_;
};

}  // namespace kvcache::kernels
