// What a block of fused_rows.cu does, phase after phase.
#pragma once

#include "base/rounding.hpp"
#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/fused_rows.hpp"
#include "kernels/cuda/logit_order.cuh"
#include "kernels/cuda/tile_attention.cuh"

namespace kvcache::kernels {

template <typename T>
struct RowsKernelArgs {
  FusedRowsArgs<T> run;
  RowsInputs inputs;
  RowsLayout layout;
};

/// Static shared memory: a unit's inputs.
struct RowsShared {
  RowsToken tokens[kMostUnitTokens];
  RowsTile tiles[kMostUnitTokens];
  std::int32_t table[kMostUnitTable];
  RowsLogits logits[kMostUnitTokens];  // the first of them
};

/// A vector of weights, which this block does not read again.
__device__ inline uint4 load_weights(const uint4* from) {
  uint4 weights;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(weights.x), "=r"(weights.y), "=r"(weights.z), "=r"(weights.w)
               : "l"(from));
  return weights;
}

template <typename T, int kTiles, int kHeadDim>
class RowsBlock {
 public:
  __device__ RowsBlock(const RowsKernelArgs<T>& args, unsigned char* dynamic, RowsShared& shared)
      : args_(args.run),
        sizes_(args.run.sizes),
        layout_(args.layout),
        inputs_(args.inputs),
        unit_(args.inputs.units[blockIdx.x / kRowsBlocks]),
        rank_(static_cast<int>(blockIdx.x) % kRowsBlocks),
        shared_(shared),
        residual_(reinterpret_cast<float*>(dynamic)),
        rows_(reinterpret_cast<uint4*>(dynamic + args.layout.inputs_at)),
        queries_(reinterpret_cast<uint4*>(dynamic + args.layout.queries_at)),
        changing_(reinterpret_cast<uint4*>(dynamic + args.layout.changing_at)),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32),
        unit_warp_(warp_ * kRowsBlocks + rank_),
        weights_(args.run.weights + RowsStream{args.run.sizes}.begin(unit_warp_) * kStepVectors +
                 lane_) {
#pragma unroll
    for (int block = 0; block < kRowsBlocks; ++block) {
      of_block_[block] = in_block(dynamic, static_cast<unsigned>(block));
    }
  }

  __device__ void run() {
#pragma unroll
    for (Weights& weights : ahead_) {
      fetch(weights);
    }
    bring_inputs();
    __syncthreads();
    prefetch_past(0);
    embed();
    clear_padding();
    meet();  // nobody writes to a block that is not there yet
#pragma unroll 1
    for (int layer = 0; layer < sizes_.layers; ++layer) {
      const T* vectors = args_.vectors + std::int64_t{layer} * vectors_at().elements();
#pragma unroll 1
      for (int w = 0; w < kRowsOfLayer; ++w) {
        if (w == 0) {
          begin_attention(layer);
        }
        if (w % 2 == 0) {
          normalize(vectors + vectors_at().norm_weight(w / 2),
                    vectors + vectors_at().norm_bias(w / 2));
          __syncthreads();
        }
        multiply(static_cast<RowsWeight>(w), layer,
                 vectors + vectors_at().bias(static_cast<LayerWeight>(w)));
        meet();
        if (w == 0) {
          attend(layer);
          if (layer + 1 < sizes_.layers) {
            prefetch_past(layer + 1);
          }
          meet();
        }
      }
    }
    normalize(args_.last_norm.weight, args_.last_norm.bias);
    __syncthreads();
    multiply(RowsWeight::head, 0, nullptr);
    meet();
    write_logits();
  }

 private:
  using Tile = HeadTile<T, kHeadDim, keys_at_once(kHeadDim, kTiles)>;
  static constexpr int kChunksAhead = chunks_ahead(kHeadDim, kTiles);
  static constexpr float kLog2E = 1.4426950408889634F;

  [[nodiscard]] __device__ LayerVectors vectors_at() const { return {sizes_.hidden, sizes_.inner}; }

  /// Waits for the unit's other blocks. What they wrote is there.
  __device__ static void meet() {
    __syncthreads();  // lanes arrive together; and racecheck knows of no barrier but this
    arrive_at_cluster();
    wait_for_cluster();
  }

  /// Each of the unit's blocks has a copy of all results; `to` is this one's.
  template <typename Value>
  __device__ void put(Value* to, const Value& value) const {
    const auto at =
        reinterpret_cast<unsigned char*>(to) - reinterpret_cast<unsigned char*>(residual_);
#pragma unroll
    for (unsigned char* const block : of_block_) {
      *reinterpret_cast<Value*>(block + at) = value;
    }
  }

  __device__ void bring_inputs() {
    const auto thread = static_cast<int>(threadIdx.x);
    if (thread < unit_.tokens) {
      shared_.tokens[thread] = inputs_.tokens[unit_.first_token + thread];
    }
    if (thread < unit_.tiles) {
      shared_.tiles[thread] = inputs_.tiles[unit_.first_tile + thread];
    }
    if (thread < min(unit_.logits, kMostUnitTokens)) {
      shared_.logits[thread] = inputs_.logits[unit_.first_logits + thread];
    }
    for (int i = thread; i < unit_.blocks; i += kRowsThreads) {
      shared_.table[i] = inputs_.table[unit_.first_block + i];
    }
  }

  /// A pair of neighbouring elements of a token's residual stream.
  [[nodiscard]] __device__ float2* residual(int token, int column) const {
    return reinterpret_cast<float2*>(residual_ + token * layout_.residual_row + column);
  }

  __device__ void embed() {
    const int pairs = sizes_.hidden / 2;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < unit_.tokens * pairs; i += kRowsThreads) {
      const RowsToken& token = shared_.tokens[i / pairs];
      float2 sum{nanf(""), nanf("")};
      if (token.id >= 0 && token.id < sizes_.vocab_size && token.position >= 0 &&
          token.position < sizes_.max_seq_len) {
        const float2 a = values_of<T>(
            load_pair(args_.token_weight + std::int64_t{token.id} * sizes_.hidden, i % pairs));
        const float2 b = values_of<T>(load_pair(
            args_.position_weight + std::int64_t{token.position} * sizes_.hidden, i % pairs));
        sum = {a.x + b.x, a.y + b.y};
      }
      *residual(i / pairs, 2 * (i % pairs)) = sum;
    }
  }

  /// Inputs behind the hidden size meet weights of zero, and must be numbers.
  __device__ void clear_padding() {
    const int first = sizes_.hidden / 8;
    const int padding = layout_.row_vectors - first;
    for (int i = static_cast<int>(threadIdx.x); i < kTiles * kRowsTileTokens * padding;
         i += kRowsThreads) {
      const int row = i / padding;
      const int at = row * layout_.row_vectors + swizzled(row, first + i % padding);
      rows_[at] = {};
    }
  }

  /// The norm of each token's residual stream, as the products take it.
  __device__ void normalize(const T* weight, const T* bias) {
    constexpr int kPerLane = kMostRowsHidden / 8 / 32;  // vectors
    const int vectors = sizes_.hidden / 8;
    Vector<T> weights[kPerLane];
    Vector<T> biases[kPerLane];
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (const int vector = lane_ + 32 * i; vector < vectors) {
        weights[i] = Vector<T>::load(weight + 8 * vector);
        biases[i] = Vector<T>::load(bias + 8 * vector);
      }
    }
#pragma unroll kTiles
    for (int token = warp_; token < unit_.tokens; token += kRowsWarps) {
      normalize(token, weights, biases);
    }
  }

  template <int kPerLane>
  __device__ void normalize(int token, const Vector<T> (&weights)[kPerLane],
                            const Vector<T> (&biases)[kPerLane]) {
    const int vectors = sizes_.hidden / 8;
    const float share = __fdividef(1.0F, static_cast<float>(sizes_.hidden));
    float x[kPerLane][8];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (const int vector = lane_ + 32 * i; vector < vectors) {
        const auto* from = reinterpret_cast<const float4*>(residual(token, 8 * vector));
        *reinterpret_cast<float4*>(x[i]) = from[0];
        *reinterpret_cast<float4*>(x[i] + 4) = from[1];
#pragma unroll
        for (const float value : x[i]) {
          sum += value;
        }
      }
    }
    const float mean = sum_of_lanes(sum) * share;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (lane_ + 32 * i < vectors) {
#pragma unroll
        for (float& value : x[i]) {
          value -= mean;
          squares += value * value;
        }
      }
    }
    const float factor = rsqrtf(sum_of_lanes(squares) * share + args_.last_norm.epsilon);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (const int vector = lane_ + 32 * i; vector < vectors) {
        Vector<T> normalized;
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          normalized.elements[e] =
              from_float<T>(x[i][e] * factor * to_float(weights[i].elements[e]) +
                            to_float(biases[i].elements[e]));
        }
        rows_[token * layout_.row_vectors + swizzled(token, vector)] =
            *reinterpret_cast<const uint4*>(&normalized);
      }
    }
  }

  static constexpr int kEights = kTaskColumns / 8;  // of a task's columns

  /// The weights of some steps, of both eights.
  struct Weights {
    uint4 of[kStepsAtOnce];
  };

  /// The weights of some steps on their way. A warp waits for all loads of an instruction that it
  /// has under way: so it asks for some steps together, kTimesAhead times of them by instructions
  /// of their own.
  __device__ void fetch(Weights& weights) {
#pragma unroll
    for (int step = 0; step < kStepsAtOnce; ++step) {
      weights.of[step] = load_weights(weights_ + step * kStepVectors);
    }
    weights_ += kStepsAtOnce * kStepVectors;
  }

  /// Of a task, lane = 4 · g + t: rows g and g + 8 of each tile, columns 2 · t and the next one of
  /// each eight.
  struct TaskSums {
    float at[kTiles][kEights][4];
  };

  /// All of a product's tasks that are this warp's. What it multiplies with is on its way since
  /// before, whatever the block waited for meanwhile.
  __device__ void multiply(RowsWeight weight, int layer, const T* bias) {
    const RowsProduct product = sizes_.product(weight);
    const bool is_inner = weight == RowsWeight::contraction;
    const int row_vectors = is_inner ? layout_.inner_row_vectors : layout_.row_vectors;
    const uint4* const own_row = (is_inner ? changing_ : rows_) + (lane_ % 16) * row_vectors;
#pragma unroll 1
    for (int task = unit_warp_; task < product.tasks(); task += kUnitWarps) {
      const int column = task * kTaskColumns + lane_ % 4 * 2;
      unsigned biases[kEights] = {};
      if (bias != nullptr) {
#pragma unroll
        for (int eight = 0; eight < kEights; ++eight) {
          biases[eight] = load_pair(bias, column / 2 + 4 * eight);
        }
      }
      TaskSums sums{};
#pragma unroll 1
      for (int step = 0; step < product.steps(); step += kStepsAhead) {
#pragma unroll
        for (int i = 0; i < kTimesAhead; ++i) {
          const Weights now = ahead_[i];
          fetch(ahead_[i]);
          add_products(own_row, row_vectors, step + i * kStepsAtOnce, now, sums);
        }
      }
#pragma unroll
      for (int eight = 0; eight < kEights; ++eight) {
        const float2 add = values_of<T>(biases[eight]);
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          float(&sum)[4] = sums.at[tile][eight];
          sum[0] += add.x;
          sum[1] += add.y;
          sum[2] += add.x;
          sum[3] += add.y;
        }
      }
      end(weight, layer, column, sums);
    }
  }

  /// Some steps of a task. Inputs are on their way to registers a step before.
  __device__ void add_products(const uint4* own_row, int row_vectors, int step, const Weights& now,
                               TaskSums& sums) {
    unsigned inputs[2][kTiles][4];
    const auto load = [&](int i) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        load_matrices(own_row + tile * kRowsTileTokens * row_vectors +
                          swizzled(lane_, 2 * (step + i) + lane_ / 16),
                      inputs[i % 2][tile]);
      }
    };
    load(0);
#pragma unroll
    for (int i = 0; i < kStepsAtOnce; ++i) {
      if (i + 1 < kStepsAtOnce) {
        load(i + 1);
      }
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        float(&sum)[kEights][4] = sums.at[tile];
        multiply_add<T>(sum[0], inputs[i % 2][tile], now.of[i].x, now.of[i].y);
        multiply_add<T>(sum[1], inputs[i % 2][tile], now.of[i].z, now.of[i].w);
      }
    }
  }

  /// Calls `work` with each of this lane's tokens, and where its pair of sums lies.
  template <typename Work>
  __device__ void for_tokens(const Work& work) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (const int token = tile * kRowsTileTokens + half * 8 + lane_ / 4; token < unit_.tokens) {
          work(token, tile, half);
        }
      }
    }
  }

  /// A task's sums, of columns `column` and the next one of each eight, go where they are needed.
  __device__ void end(RowsWeight weight, int layer, int column, const TaskSums& sums) {
    const auto pair = [&](int tile, int eight, int half) {
      const float(&sum)[4] = sums.at[tile][eight];
      return float2{sum[2 * half], sum[2 * half + 1]};
    };
    switch (weight) {
      case RowsWeight::qkv:
        end_qkv(layer, column, pair);
        return;
      case RowsWeight::projection:
      case RowsWeight::contraction:
        for_tokens([&](int token, int tile, int half) {
#pragma unroll
          for (int eight = 0; eight < kEights; ++eight) {
            float2* const to = residual(token, column + 8 * eight);
            const float2 add = pair(tile, eight, half);
            put(to, {to->x + add.x, to->y + add.y});
          }
        });
        return;
      case RowsWeight::expansion:
        for_tokens([&](int token, int tile, int half) {
          uint4* const row = changing_ + token * layout_.inner_row_vectors;
#pragma unroll
          for (int eight = 0; eight < kEights; ++eight) {
            const float2 x = pair(tile, eight, half);
            store_pair(row, token, column + 8 * eight,
                       pair_of<T>(gelu_by_exp(x.x), gelu_by_exp(x.y)));
          }
        });
        return;
      case RowsWeight::head:
        break;
    }
    for_tokens([&](int token, int tile, int half) {
      T* const row = reinterpret_cast<T*>(changing_) + token * layout_.logits_row + column;
#pragma unroll
      for (int eight = 0; eight < kEights; ++eight) {
        const float2 x = pair(tile, eight, half);
        put(reinterpret_cast<unsigned*>(row + 8 * eight), pair_of<T>(x.x, x.y));
      }
    });
  }

  __device__ void store_pair(uint4* row, int token, int column, unsigned pair) const {
    put(reinterpret_cast<unsigned*>(row + swizzled(token, column / 8)) + column % 8 / 2, pair);
  }

  /// Queries stay here, keys and values go to the cache. A task's columns are all of one of them.
  template <typename Pair>
  __device__ void end_qkv(int layer, int column, const Pair& pair) {
    const int which = (column >= sizes_.hidden ? 1 : 0) + (column >= 2 * sizes_.hidden ? 1 : 0);
    column -= which * sizes_.hidden;
    if (which == 0) {
      for_tokens([&](int token, int tile, int half) {
        uint4* const row = queries_ + token * layout_.row_vectors;
#pragma unroll
        for (int eight = 0; eight < kEights; ++eight) {
          const float2 x = pair(tile, eight, half);
          store_pair(row, token, column + 8 * eight, pair_of<T>(x.x, x.y));
        }
      });
      return;
    }
    T* const pool = args_.pools[2 * layer + which - 1];
    for_tokens([&](int token, int tile, int half) {
      const RowsToken& of = shared_.tokens[token];
      const std::int64_t first_head = std::int64_t{of.append_block} * sizes_.heads;
#pragma unroll
      for (int eight = 0; eight < kEights; ++eight) {
        const float2 x = pair(tile, eight, half);
        const int at = column + 8 * eight;
        const std::int64_t row =
            ((first_head + at / kHeadDim) << args_.block_len_shift) + of.append_place;
        *reinterpret_cast<unsigned*>(pool + row * kHeadDim + at % kHeadDim) = pair_of<T>(x.x, x.y);
      }
    });
  }

  [[nodiscard]] __device__ int attention_tasks() const { return unit_.tiles * sizes_.heads; }

  [[nodiscard]] __device__ Tile tile_of(int layer, int task) const {
    const RowsTile& tile = shared_.tiles[task / sizes_.heads];
    return {tile,
            task % sizes_.heads,
            sizes_.heads,
            shared_.table + tile.table_at,
            args_.block_len_shift,
            args_.pools[2 * layer],
            args_.pools[2 * layer + 1],
            args_.scales[layer] * kLog2E};
  }

  [[nodiscard]] __device__ uint4* chunk_at(int stage) const {
    return changing_ + (warp_ * kChunksAhead + stage) * Tile::kChunkVectors;
  }

  /// Asks for a layer's past to come nearer.
  __device__ void prefetch_past(int layer) const {
    constexpr int kLine = 64;  // elements
    constexpr int kPositions = kHeadDim < kLine ? kLine / kHeadDim : 1;
#pragma unroll 1
    for (int task = unit_warp_; task < attention_tasks(); task += kUnitWarps) {
      const Tile tile = tile_of(layer, task);
#pragma unroll 1
      for (int position = lane_ * kPositions; position < tile.tile().past_length;
           position += 32 * kPositions) {
        const std::int64_t at = tile.at(position);
        prefetch_line(args_.pools[2 * layer] + at);
        prefetch_line(args_.pools[2 * layer + 1] + at);
      }
    }
  }

  /// Starts to bring the past that the warp attends to first, while the queries are computed.
  __device__ void begin_attention(int layer) const {
    if (unit_warp_ < attention_tasks()) {
      const Tile tile = tile_of(layer, unit_warp_);
#pragma unroll 1
      for (int chunk = 0; chunk < kChunksAhead; ++chunk) {
        if (chunk < tile.past_chunks()) {
          tile.bring(chunk, chunk_at(chunk));
        }
        commit_copies();
      }
    }
  }

  __device__ void attend(int layer) const {
#pragma unroll 1
    for (int task = unit_warp_; task < attention_tasks(); task += kUnitWarps) {
      const Tile tile = tile_of(layer, task);
      const TileQueries<kHeadDim> queries = queries_of(tile);
      TileSoftmax<kHeadDim> softmax;
#pragma unroll 1
      for (int chunk = 0; chunk < kChunksAhead; ++chunk) {
        if (chunk < tile.chunks() && !(task == unit_warp_ && chunk < tile.past_chunks())) {
          tile.bring(chunk, chunk_at(chunk));
        }
        commit_copies();
      }
#pragma unroll 1
      for (int chunk = 0, stage = 0; chunk < tile.chunks(); ++chunk) {
        wait_for_copies_but<kChunksAhead - 1>();
        __syncwarp();
        tile.attend(chunk, chunk_at(stage), queries, softmax);
        __syncwarp();
        if (chunk + kChunksAhead < tile.chunks()) {
          tile.bring(chunk + kChunksAhead, chunk_at(stage));
        }
        commit_copies();
        stage = stage + 1 == kChunksAhead ? 0 : stage + 1;
      }
      wait_for_copies();
      __syncwarp();
      Tile::finish(softmax);
      keep_attended(tile, softmax);
    }
  }

  [[nodiscard]] __device__ TileQueries<kHeadDim> queries_of(const Tile& tile) const {
    TileQueries<kHeadDim> queries;
    // Rows behind the tile's are another's: they see nothing, and nobody reads what comes of them.
    const int row = min(tile.tile().first + lane_ % 16, unit_.tokens - 1);
    const uint4* const from = queries_ + row * layout_.row_vectors;
    if constexpr (kHeadDim == 8) {  // both halves of the matrices the same, of which one counts
      load_matrices(from + swizzled(row, tile.head()), queries.pairs[0]);
      queries.pairs[0][2] = 0;
      queries.pairs[0][3] = 0;
    }
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      load_matrices(from + swizzled(row, tile.head() * (kHeadDim / 8) + 2 * i + lane_ / 16),
                    queries.pairs[i]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int own = lane_ / 4 + 8 * half;
      queries.sees[half] =
          own < tile.tile().count ? shared_.tokens[tile.tile().first + own].sees : 0;
    }
    return queries;
  }

  __device__ void keep_attended(const Tile& tile, const TileSoftmax<kHeadDim>& softmax) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int own = lane_ / 4 + 8 * half;
      if (own >= tile.tile().count) {
        continue;
      }
      const int token = tile.tile().first + own;
      // Nothing seen: zero. Not a number stays so.
      const float sum = softmax.sum[half];
      const float scale = sum == 0.0F ? 0.0F : __fdividef(1.0F, sum);
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
        store_pair(
            rows_ + token * layout_.row_vectors, token,
            tile.head() * kHeadDim + 8 * i + lane_ % 4 * 2,
            pair_of<T>(softmax.value[i][2 * half] * scale, softmax.value[i][2 * half + 1] * scale));
      }
    }
  }

  /// A warp per row of logits.
  __device__ void write_logits() const {
#pragma unroll 1
    for (int i = unit_warp_; i < unit_.logits; i += kUnitWarps) {
      const RowsLogits of =
          i < kMostUnitTokens ? shared_.logits[i] : inputs_.logits[unit_.first_logits + i];
      const T* const from = reinterpret_cast<const T*>(changing_) + of.token * layout_.logits_row;
      if (args_.last != nullptr) {
        T* const last = args_.last + std::int64_t{of.row} * sizes_.hidden;
        for (int element = lane_; element < sizes_.hidden; element += 32) {
          last[element] = from_float<T>(residual_[of.token * layout_.residual_row + element]);
        }
      }
      const std::int64_t begin = std::int64_t{of.row} * sizes_.vocab_size;
      TopLogit best{INT32_MAX, -INFINITY};
#pragma unroll 1
      for (int token = lane_; token < sizes_.vocab_size; token += 32) {
        args_.logits[begin + token] = from[token];
        if (args_.host_logits != nullptr) {
          args_.host_logits[begin + token] = from[token];
        }
        const TopLogit other{token, to_float(from[token])};
        best = comes_before(other, best) ? other : best;
      }
      best = best_of_lanes(best);
      __syncwarp();
      if (lane_ == 0) {
        // All that the unit's threads wrote is seen by whoever sees the token, and by what they
        // then put into any stream.
        __threadfence_system();
        send_to_host(args_.best + of.row, static_cast<unsigned>(best.token),
                     __float_as_uint(best.logit));
      }
    }
  }

  const FusedRowsArgs<T>& args_;
  const RowsSizes& sizes_;
  const RowsLayout& layout_;
  const RowsInputs& inputs_;
  RowsUnit unit_;
  int rank_;  // of the unit's blocks
  RowsShared& shared_;
  float* residual_;
  uint4* rows_;      // what the products take
  uint4* queries_;   //
  uint4* changing_;  // keys and values on their way, inner values, or logits
  int lane_;
  int warp_;
  int unit_warp_;                         // of the unit's warps
  unsigned char* of_block_[kRowsBlocks];  // the shared memory of each of the unit's blocks
  const uint4* weights_;                  // those that are to be fetched next, of this lane
  Weights ahead_[kTimesAhead];            // on their way
};

}  // namespace kvcache::kernels
