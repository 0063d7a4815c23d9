#include "kernels/cuda/fused_layers.hpp"

#include <algorithm>
#include <iterator>

#include "base/rounding.hpp"
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/fused_layers_attention.cuh"
#include "kernels/cuda/fused_layers_plan.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kFetching = kLayersThreads - 32;  // a thread of the last warp
constexpr int kMaxStages = 16;

/// What the launch works out once for all blocks.
template <typename T>
struct LayersKernelArgs {
  FusedStepArgs<T> step;
  LayersInputs inputs;
  LayersRoom<T> room;
  LayersLayout layout;
  ProductPlan products[kLayerWeights];
  T* normalized;
  unsigned arrivals;  // at barriers before this step
  int token_tiles;    // of 16: 1, 2 or 4
};

/// What the ring is given next.
struct NextChunk {
  unsigned chunk;  // counted from the step's first
  int layer;
  int weight;
  int strip;  // of the block's
  int piece;
};

/// Static shared memory.
struct LayersShared {
  CopyBarrier full[kMaxStages];
  NextChunk next;
  CopyBarrier moments_there;
  CopyBarrier sums_there;
  float2 moments[kLayersCluster][kMaxLayersTokens];  // mean, sum of squares about it
};

__device__ inline unsigned rank_in_cluster() {
  unsigned rank = 0;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// The block's part of all weights, chunk after chunk through a ring of stages. A chunk is some
/// strips of a round, or of a long strip a part.
template <typename T>
class LayersWeights {
 public:
  __device__ LayersWeights(const LayersKernelArgs<T>& args, unsigned char* dynamic)
      : args_(args), ring_(dynamic + args.layout.ring_at) {}

  /// A product's part of this block.
  struct Part {
    Share strips;  // of the product
    Share pieces;
    int chunk_strips;   // 0: a strip is several chunks
    int strip_chunks;
  };

  [[nodiscard]] __device__ Part part(LayerWeight weight) const {
    const ProductPlan& plan = args_.products[static_cast<int>(weight)];
    const int clusters = static_cast<int>(gridDim.x) / kLayersCluster;
    Part part{};
    part.strips = Share::of(plan.strips, static_cast<int>(blockIdx.x) / kLayersCluster, clusters);
    part.pieces = Share::of(plan.pieces, static_cast<int>(rank_in_cluster()), kLayersCluster);
    part.chunk_strips = kStagePieces / max(part.pieces.count, 1);
    part.strip_chunks = (part.pieces.count + kStagePieces - 1) / kStagePieces;
    return part;
  }

  /// Chunks of a round of `strips` strips.
  [[nodiscard]] __device__ static int chunks(const Part& part, int strips) {
    return part.chunk_strips > 0 ? (strips + part.chunk_strips - 1) / part.chunk_strips
                                 : strips * part.strip_chunks;
  }

  /// By one thread, once.
  __device__ void begin(LayersShared& shared) const { shared.next = {}; }

  /// Asks for chunks as long as there is a stage for them, where all before chunk `used` are done
  /// with; by one thread, always the same.
  __device__ void fetch(unsigned used, LayersShared& shared) const {
    NextChunk next = shared.next;
#pragma unroll 1
    while (next.layer < args_.step.sizes.layers && next.chunk - used < stages()) {
      fetch_one(next, shared);
    }
    shared.next = next;
  }

  /// Waits for the chunk with a strip of the round that began at chunk `first`, and with a piece;
  /// returns where that piece is.
  [[nodiscard]] __device__ const uint4* wait(const Part& part, unsigned first, int strip, int piece,
                                             LayersShared& shared) const {
    unsigned chunk = first;
    int at = 0;  // in the stage, in pieces
    if (part.chunk_strips > 0) {
      chunk += static_cast<unsigned>(strip / part.chunk_strips);
      at = strip % part.chunk_strips * part.pieces.count + piece;
    } else {
      chunk += static_cast<unsigned>(strip * part.strip_chunks + piece / kStagePieces);
      at = piece % kStagePieces;
    }
    const auto stages = static_cast<unsigned>(args_.layout.stages);
    shared.full[chunk % stages].wait(chunk / stages % 2);
    return reinterpret_cast<const uint4*>(ring_ + chunk % stages * kStageBytes + at * kPieceBytes);
  }

 private:
  __device__ void fetch_one(NextChunk& next, LayersShared& shared) const {
    const auto weight = static_cast<LayerWeight>(next.weight);
    const ProductPlan& plan = args_.products[next.weight];
    const Part mine = part(weight);
    const FusedSizes& sizes = args_.step.sizes;
    // A chunk ends with its round.
    const int round_end =
        min((next.strip / plan.round_strips + 1) * plan.round_strips, mine.strips.count);
    const bool whole = mine.chunk_strips > 0;
    const int strips = whole ? min(mine.chunk_strips, round_end - next.strip) : 1;
    const int pieces = whole ? mine.pieces.count : min(kStagePieces, mine.pieces.count - next.piece);
    if (strips > 0 && pieces > 0) {
      const auto* from =
          reinterpret_cast<const unsigned char*>(args_.step.weights +
                                                 next.layer * sizes.layer_elements() +
                                                 sizes.weight_at(weight)) +
          (std::int64_t{mine.strips.first + next.strip} * plan.pieces + mine.pieces.first +
           next.piece) *
              kPieceBytes;
      CopyBarrier& full = shared.full[next.chunk % stages()];
      unsigned char* to = ring_ + next.chunk % stages() * kStageBytes;
      const auto bytes = static_cast<unsigned>(pieces * kPieceBytes);
      full.expect(static_cast<unsigned>(strips) * bytes);
#pragma unroll 1
      for (int i = 0; i < strips; ++i) {
        full.copy(to + i * static_cast<int>(bytes), from + std::int64_t{i} * plan.pieces * kPieceBytes,
                  bytes, ReadAgain::no);
      }
      ++next.chunk;
    }
    next.piece += pieces;
    if (whole || next.piece >= mine.pieces.count) {
      next.piece = 0;
      next.strip += strips;
    }
    if (next.strip >= mine.strips.count) {
      next.strip = 0;
      next.layer += next.weight + 1 == kLayerWeights ? 1 : 0;
      next.weight = (next.weight + 1) % kLayerWeights;
    }
  }

  [[nodiscard]] __device__ unsigned stages() const {
    return static_cast<unsigned>(args_.layout.stages);
  }

  const LayersKernelArgs<T>& args_;
  unsigned char* ring_;
};

/// One block's way through the step.
template <typename T, int kHeadDim>
class LayersStep {
 public:
  __device__ LayersStep(const LayersKernelArgs<T>& args, unsigned char* dynamic,
                        LayersShared& shared)
      : args_(args),
        sizes_(args.step.sizes),
        rows_(reinterpret_cast<uint4*>(dynamic)),
        sums_(reinterpret_cast<float*>(dynamic + args.layout.sums_at)),
        shared_(shared),
        thread_(static_cast<int>(threadIdx.x)),
        lane_(thread_ % 32),
        warp_(thread_ / 32),
        rank_(static_cast<int>(rank_in_cluster())),
        arrivals_(args.arrivals),
        attention_(args.step, args.inputs, args.room),
        weights_(args, dynamic) {}

  __device__ void run() {
    if (thread_ == kFetching) {
      weights_.begin(shared_);
      weights_.fetch(0, shared_);
    }
    embed();
    attention_.prefetch(0);
    meet();
#pragma unroll 1
    for (int layer = 0; layer < sizes_.layers; ++layer) {
      multiply<LayerWeight::qkv>(layer);
      meet();
      attention_.run(layer, reinterpret_cast<float*>(rows_), [] { __syncthreads(); });
      if (layer + 1 < sizes_.layers) {
        attention_.prefetch(layer + 1);
      }
      meet();
      multiply<LayerWeight::projection>(layer);
      meet();
      multiply<LayerWeight::expansion>(layer);
      meet();
      multiply<LayerWeight::contraction>(layer);
      meet();
    }
    finish();
  }

 private:
  static constexpr int kPerLane = 8;  // vectors of 4 elements of a token's slice

  /// All blocks' computing warps; what they wrote before is there for all.
  __device__ void meet() {
    __syncthreads();
    arrivals_ += gridDim.x;
    if (thread_ == kFetching) {
      weights_.fetch(chunk_, shared_);
    }
    if (thread_ == 0) {
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(args_.room.arrivals) : "memory");
      unsigned arrived = 0;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                     : "=r"(arrived)
                     : "l"(args_.room.arrivals)
                     : "memory");
      } while (static_cast<int>(arrived - arrivals_) < 0);
    }
    __syncthreads();
  }

  [[nodiscard]] __device__ int tokens() const { return args_.inputs.tokens_count; }

  __device__ void embed() {
    const int pairs = sizes_.hidden / 2;
    for (int i = static_cast<int>(blockIdx.x) * kLayersThreads + thread_; i < tokens() * pairs;
         i += static_cast<int>(gridDim.x) * kLayersThreads) {
      const LayersToken& token = args_.inputs.tokens[i / pairs];
      float2 sum{nanf(""), nanf("")};
      if (token.id >= 0 && token.id < sizes_.vocab_size && token.position >= 0 &&
          token.position < sizes_.max_seq_len) {
        const float2 a = values_of<T>(load_pair(
            args_.step.token_weight + std::int64_t{token.id} * sizes_.hidden, i % pairs));
        const float2 b = values_of<T>(load_pair(
            args_.step.position_weight + std::int64_t{token.position} * sizes_.hidden, i % pairs));
        sum = {a.x + b.x, a.y + b.y};
      }
      reinterpret_cast<float2*>(args_.room.residual)[i] = sum;
    }
  }

  [[nodiscard]] __device__ LayerVectors vectors() const { return {sizes_.hidden, sizes_.inner}; }
  [[nodiscard]] __device__ const T* vectors_of(int layer) const {
    return args_.step.vectors + std::int64_t{layer} * vectors().elements();
  }

  /// A product, with what stands before and behind it.
  template <LayerWeight kWeight>
  __device__ void multiply(int layer) {
    const ProductPlan& plan = args_.products[static_cast<int>(kWeight)];
    const auto part = weights_.part(kWeight);
    if constexpr (kWeight == LayerWeight::qkv || kWeight == LayerWeight::expansion) {
      const T* norm =
          vectors_of(layer) + vectors().norm_weight(kWeight == LayerWeight::qkv ? 0 : 1);
      const int slice = part.pieces.count * kPieceInputs;
      if (slice <= 4 * kPerLane * 8) {
        normalize<8>(part.pieces, norm);
      } else if (slice <= 4 * kPerLane * 16) {
        normalize<16>(part.pieces, norm);
      } else {
        normalize<32>(part.pieces, norm);
      }
    } else {
      const bool attended = kWeight == LayerWeight::projection;
      copy_rows(part.pieces, attended ? args_.room.attended : args_.room.expanded,
                attended ? sizes_.hidden : sizes_.inner);
    }
#pragma unroll 1
    for (int round = 0; round < part.strips.count; round += plan.round_strips) {
      const int strips = min(plan.round_strips, part.strips.count - round);
      if (round > 0) {
        meet_in_cluster();
      }
      add_products(plan, part, strips);
      end_sums<kWeight>(layer, plan, part.strips.first + round, strips);
    }
  }

  /// This block's slice of the inputs, which are there.
  __device__ void copy_rows(const Share& pieces, const T* from, int size) {
    const int vectors = pieces.count * (kPieceInputs / 8);
    for (int i = thread_; i < tokens() * vectors; i += kLayersThreads) {
      const int row = i / vectors;
      const int vector = i % vectors;
      copy_to_shared(reinterpret_cast<T*>(rows_ + row * args_.layout.row_vectors + vector),
                     from + std::int64_t{row} * size + pieces.first * kPieceInputs + 8 * vector);
    }
    wait_for_copies();
    __syncthreads();
  }

  /// Layer norm of the residual stream, this block's slice of it; kLanes lanes have a token. The
  /// blocks of the cluster tell each other their slice's moments.
  template <int kLanes>
  __device__ void normalize(const Share& pieces, const T* norm) {
    const int row = thread_ / kLanes;
    const int lane = thread_ % kLanes;
    const int first = pieces.first * kPieceInputs;
    const int vectors = pieces.count * (kPieceInputs / 4);
    const bool has = row < tokens();
    float4 x[kPerLane];
    uint2 weight[kPerLane];
    uint2 bias[kPerLane];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int vector = i * kLanes + lane;
      const bool there = has && vector < vectors;
      x[i] = there ? __ldcg(reinterpret_cast<const float4*>(
                                args_.room.residual + std::int64_t{row} * sizes_.hidden + first) +
                            vector)
                   : float4{0, 0, 0, 0};
      weight[i] = there ? __ldg(reinterpret_cast<const uint2*>(norm + first) + vector) : uint2{0, 0};
      bias[i] = there ? __ldg(reinterpret_cast<const uint2*>(norm + sizes_.hidden + first) + vector)
                      : uint2{0, 0};
    }
#pragma unroll
    for (const float4& v : x) {
      sum += (v.x + v.y) + (v.z + v.w);
    }
    const float mean_of_slice = sum_of_lanes<kLanes>(sum) / static_cast<float>(4 * vectors);
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * kLanes + lane < vectors) {
        const float4 d{x[i].x - mean_of_slice, x[i].y - mean_of_slice, x[i].z - mean_of_slice,
                       x[i].w - mean_of_slice};
        squares += (d.x * d.x + d.y * d.y) + (d.z * d.z + d.w * d.w);
      }
    }
    squares = sum_of_lanes<kLanes>(squares);
    if (lane < kLayersCluster) {
      *in_block(&shared_.moments[rank_][row % kMaxLayersTokens], static_cast<unsigned>(lane)) = {
          mean_of_slice, squares};
    }
    __syncwarp();
    if (lane_ < kLayersCluster) {
      shared_.moments_there.arrive_in_block(static_cast<unsigned>(lane_));
    }
    shared_.moments_there.wait_for_cluster(moments_phase_);
    moments_phase_ ^= 1U;
    if (has) {
      // Of slices' moments those of all (Chan, Golub and LeVeque 1983).
      float mean = 0;
      float all_squares = 0;
      const int all_pieces = sizes_.hidden / kPieceInputs;
#pragma unroll
      for (int rank = 0; rank < kLayersCluster; ++rank) {
        mean += shared_.moments[rank][row].x *
                static_cast<float>(Share::of(all_pieces, rank, kLayersCluster).count);
      }
      mean /= static_cast<float>(all_pieces);
#pragma unroll
      for (int rank = 0; rank < kLayersCluster; ++rank) {
        const float2 one = shared_.moments[rank][row];
        all_squares +=
            one.y + (one.x - mean) * (one.x - mean) *
                        static_cast<float>(kPieceInputs *
                                           Share::of(all_pieces, rank, kLayersCluster).count);
      }
      const float scale = rsqrtf(all_squares / static_cast<float>(sizes_.hidden) +
                                 args_.step.last_norm.epsilon);
      auto* to = reinterpret_cast<uint2*>(rows_ + row * args_.layout.row_vectors);
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        if (i * kLanes + lane < vectors) {
          const float2 w[2] = {values_of<T>(weight[i].x), values_of<T>(weight[i].y)};
          const float2 b[2] = {values_of<T>(bias[i].x), values_of<T>(bias[i].y)};
          to[i * kLanes + lane] = {pair_of<T>((x[i].x - mean) * scale * w[0].x + b[0].x,
                                              (x[i].y - mean) * scale * w[0].y + b[0].y),
                                   pair_of<T>((x[i].z - mean) * scale * w[1].x + b[1].x,
                                              (x[i].w - mean) * scale * w[1].y + b[1].y)};
        }
      }
    }
    __syncthreads();
  }

  /// The sums of a round's strips over this block's slice, to the blocks of the cluster that end
  /// them.
  __device__ void add_products(const ProductPlan& plan,
                               const typename LayersWeights<T>::Part& part, int strips) {
    const int tiles = args_.token_tiles;
    const int tile = warp_ % tiles;
    const int group = warp_ / tiles % plan.strip_groups;
    const int share = warp_ / tiles / plan.strip_groups;
    const Share pieces = Share::of(part.pieces.count, share, plan.piece_groups);
    const int own = (strips - group + plan.strip_groups - 1) / plan.strip_groups;
    const int g = lane_ / 4;
    const int t = lane_ % 4;
    const uint4* high = rows_ + (tile * 16 + g) * args_.layout.row_vectors + t;
    const uint4* low = high + 8 * args_.layout.row_vectors;
    float sums[kStripsOfWarp][2][4] = {};
#pragma unroll 1
    for (int piece = pieces.first; piece < pieces.first + pieces.count;) {
      const int end = part.chunk_strips > 0
                          ? pieces.first + pieces.count
                          : min(pieces.first + pieces.count,
                                (piece / kStagePieces + 1) * kStagePieces);
      const uint4* strip[kStripsOfWarp];
#pragma unroll
      for (int i = 0; i < kStripsOfWarp; ++i) {
        strip[i] = i < own ? weights_.wait(part, chunk_, group + i * plan.strip_groups, piece,
                                           shared_) +
                                 lane_
                           : nullptr;
      }
#pragma unroll 2
      for (; piece < end; ++piece) {
        const uint4 a = high[piece * 4];
        const uint4 b = low[piece * 4];
#pragma unroll
        for (int i = 0; i < kStripsOfWarp; ++i) {
          if (i < own) {
            const uint4 w = *strip[i];
            strip[i] += 32;
            multiply_add<T>(sums[i][0], {a.x, b.x, a.y, b.y}, w.x, w.y);
            multiply_add<T>(sums[i][1], {a.z, b.z, a.w, b.w}, w.z, w.w);
          }
        }
      }
    }
    const int of_owner = (strips + kLayersCluster - 1) / kLayersCluster;
    const int slots = kLayersCluster * plan.piece_groups;
    const int slot = rank_ * plan.piece_groups + share;
#pragma unroll
    for (int i = 0; i < kStripsOfWarp; ++i) {
      const int number = group + i * plan.strip_groups;
      if (i < own) {
        float* to = in_block(sums_, static_cast<unsigned>(number / of_owner)) +
                    ((number % of_owner * slots + slot) * 16 * tiles + tile * 16 + g) *
                        kStripColumns +
                    2 * t;
        *reinterpret_cast<float2*>(to) = {sums[i][0][0] + sums[i][1][0],
                                          sums[i][0][1] + sums[i][1][1]};
        *reinterpret_cast<float2*>(to + 8 * kStripColumns) = {sums[i][0][2] + sums[i][1][2],
                                                              sums[i][0][3] + sums[i][1][3]};
      }
    }
    __syncwarp();
    if (lane_ < kLayersCluster) {
      shared_.sums_there.arrive_in_block(static_cast<unsigned>(lane_));
    }
    chunk_ += static_cast<unsigned>(LayersWeights<T>::chunks(part, strips));
  }

  /// All of the cluster's warps: they have read what they were sent, and done with their weights.
  __device__ void meet_in_cluster() {
    if (thread_ == kFetching) {
      weights_.fetch(chunk_, shared_);
    }
    __syncwarp();
    if (lane_ < kLayersCluster) {
      shared_.sums_there.arrive_in_block(static_cast<unsigned>(lane_));
    }
    shared_.sums_there.wait_for_cluster(sums_phase_);
    sums_phase_ ^= 1U;
  }

  /// Adds up what the cluster's blocks have of this block's own strips, and hands over the results.
  template <LayerWeight kWeight>
  __device__ void end_sums(int layer, const ProductPlan& plan, int first_strip, int strips) {
    const int of_owner = (strips + kLayersCluster - 1) / kLayersCluster;
    const int own = min(of_owner, strips - rank_ * of_owner);
    const int slots = kLayersCluster * plan.piece_groups;
    const int rows = 16 * args_.token_tiles;
    const T* bias = vectors_of(layer) + vectors().bias(kWeight);
    shared_.sums_there.wait_for_cluster(sums_phase_);
    sums_phase_ ^= 1U;
    for (int i = thread_; i < own * rows * 4; i += kLayersThreads) {
      const int token = i / 4 % rows;
      const int strip = i / 4 / rows;
      const int pair = (first_strip + rank_ * of_owner + strip) * (kStripColumns / 2) + i % 4;
      if (token >= tokens()) {
        continue;
      }
      const float2 biases = values_of<T>(load_pair(bias, pair));
      float2 sum{0.0F, 0.0F};
      const float* from = sums_ + (strip * slots * rows + token) * kStripColumns + i % 4 * 2;
      for (int slot = 0; slot < slots; ++slot) {
        const float2 one = *reinterpret_cast<const float2*>(from + slot * rows * kStripColumns);
        sum.x += one.x;
        sum.y += one.y;
      }
      end_sum<kWeight>(layer, token, pair, {sum.x + biases.x, sum.y + biases.y});
    }
  }

  /// A token's results in a pair of columns.
  template <LayerWeight kWeight>
  __device__ void end_sum(int layer, int token, int pair, float2 sum) {
    if constexpr (kWeight == LayerWeight::qkv) {
      const int column = 2 * pair;
      const unsigned rounded = pair_of<T>(sum.x, sum.y);
      if (column < sizes_.hidden) {
        reinterpret_cast<unsigned*>(args_.room.queries)[token * (sizes_.hidden / 2) + pair] =
            rounded;
      } else {
        const bool is_value = column >= 2 * sizes_.hidden;
        const int of_part = column - (is_value ? 2 : 1) * sizes_.hidden;
        append(args_.step.pools[2 * layer + (is_value ? 1 : 0)], token, of_part / kHeadDim,
               of_part % kHeadDim, rounded);
      }
    } else if constexpr (kWeight == LayerWeight::expansion) {
      reinterpret_cast<unsigned*>(args_.room.expanded)[token * (sizes_.inner / 2) + pair] =
          pair_of<T>(gelu_by_exp(sum.x), gelu_by_exp(sum.y));
    } else {
      auto* at = reinterpret_cast<float2*>(args_.room.residual + std::int64_t{token} * sizes_.hidden) +
                 pair;
      const float2 before = __ldcg(at);
      *at = {before.x + sum.x, before.y + sum.y};
    }
  }

  /// Two elements of a token's new key or value to the cache.
  __device__ void append(T* pool, int number, int head, int element, unsigned pair) const {
    const LayersToken& token = args_.inputs.tokens[number];
    const int at = token.append_at >> args_.step.block_len_shift;
    const std::int64_t block = args_.inputs.block_table[token.table_at + at];
    const std::int64_t row = ((block * sizes_.heads + head) << args_.step.block_len_shift) +
                             (token.append_at - (at << args_.step.block_len_shift));
    *reinterpret_cast<unsigned*>(pool + row * kHeadDim + element) = pair;
  }

  /// The last norm of the tokens whose logits are asked for, by a warp each.
  __device__ void finish() {
    const int vectors = sizes_.hidden / 4;
    for (int row = static_cast<int>(blockIdx.x) + warp_ * static_cast<int>(gridDim.x);
         row < args_.inputs.logits_count; row += static_cast<int>(gridDim.x) * kLayersWarps) {
      const auto* x = reinterpret_cast<const float4*>(
          args_.room.residual + std::int64_t{args_.inputs.logits_tokens[row]} * sizes_.hidden);
      float sum = 0;
      for (int i = lane_; i < vectors; i += 32) {
        const float4 v = __ldcg(x + i);
        sum += (v.x + v.y) + (v.z + v.w);
      }
      const float mean = sum_of_lanes(sum) / static_cast<float>(sizes_.hidden);
      float squares = 0;
      for (int i = lane_; i < vectors; i += 32) {
        const float4 v = __ldcg(x + i);
        const float4 d{v.x - mean, v.y - mean, v.z - mean, v.w - mean};
        squares += (d.x * d.x + d.y * d.y) + (d.z * d.z + d.w * d.w);
      }
      const float scale = rsqrtf(sum_of_lanes(squares) / static_cast<float>(sizes_.hidden) +
                                 args_.step.last_norm.epsilon);
      const auto* weight = reinterpret_cast<const uint2*>(args_.step.last_norm.weight);
      const auto* bias = reinterpret_cast<const uint2*>(args_.step.last_norm.bias);
      auto* to = reinterpret_cast<uint2*>(args_.normalized + std::int64_t{row} * sizes_.hidden);
      for (int i = lane_; i < vectors; i += 32) {
        const float4 v = __ldcg(x + i);
        const uint2 w = __ldg(weight + i);
        const uint2 b = __ldg(bias + i);
        const float2 w0 = values_of<T>(w.x);
        const float2 w1 = values_of<T>(w.y);
        const float2 b0 = values_of<T>(b.x);
        const float2 b1 = values_of<T>(b.y);
        to[i] = {
            pair_of<T>((v.x - mean) * scale * w0.x + b0.x, (v.y - mean) * scale * w0.y + b0.y),
            pair_of<T>((v.z - mean) * scale * w1.x + b1.x, (v.w - mean) * scale * w1.y + b1.y)};
      }
    }
  }

  const LayersKernelArgs<T>& args_;
  const FusedSizes& sizes_;
  uint4* rows_;  // of inputs, this block's slice of each token's
  float* sums_;  // [own strips, blocks · piece groups, tokens, 8]
  LayersShared& shared_;
  int thread_;
  int lane_;
  int warp_;
  int rank_;
  unsigned arrivals_;
  unsigned moments_phase_ = 0;
  unsigned sums_phase_ = 0;
  unsigned chunk_ = 0;  // of the ring, the next round's first
  LayersAttention<T, kHeadDim> attention_;
  LayersWeights<T> weights_;
};

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kLayersThreads, 1)
    fused_layers_kernel(const __grid_constant__ LayersKernelArgs<T> args) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ LayersShared shared;
  if (threadIdx.x == 0) {
    for (int i = 0; i < args.layout.stages; ++i) {
      shared.full[i].initialize();
    }
    shared.moments_there.initialize(kLayersCluster * kLayersWarps);
    shared.sums_there.initialize(kLayersCluster * kLayersWarps);
  }
  __syncthreads();
  arrive_at_cluster();  // nobody is sent anything before the barriers are there
  wait_for_cluster();
  LayersStep<T, kHeadDim>(args, dynamic, shared).run();
  arrive_at_cluster();  // nobody leaves while others may write to it
  wait_for_cluster();
}

int layers_shared_capacity() {
  constexpr int kStaticBytes = (static_cast<int>(sizeof(LayersShared)) + 127) / 128 * 128;
  static const int capacity =
      attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlockOptin) - kStaticBytes;
  return capacity;
}

/// Of a step of so many tokens, in tiles of 16; no stages where there is no room.
LayersLayout layout_of(const FusedSizes& sizes, int token_tiles) {
  const int slice =
      Share::most(std::max(sizes.inner, sizes.hidden) / kPieceInputs, kLayersCluster);
  LayersLayout layout;
  layout.row_vectors = slice * 4;
  if (layout.row_vectors % 8 == 0) {
    layout.row_vectors += 4;  // two rows lie on other banks
  }
  const int attention = kLayersWarps *
                        LayersAttention<__half, kFusedHeadDim>::kSharedFloats *
                        static_cast<int>(sizeof(float));
  layout.sums_at = std::max(layout.row_vectors * 16 * 16 * token_tiles, attention);
  layout.ring_at = round_up(layout.sums_at + kSumsElements * 4, 128);
  layout.stages = std::min((layers_shared_capacity() - layout.ring_at) / kStageBytes, kMaxStages);
  layout.bytes = layout.ring_at + layout.stages * kStageBytes;
  return layout;
}

template <typename T>
cudaError_t launch_config(cudaLaunchConfig_t& config, cudaLaunchAttribute (&attributes)[2]) {
  const auto kernel = fused_layers_kernel<T, kFusedHeadDim>;
  static const cudaError_t more_shared =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           layers_shared_capacity());
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = kLayersCluster;
  attributes[0].val.clusterDim.y = 1;
  attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeCooperative;
  attributes[1].val.cooperative = 1;
  config.blockDim = dim3(kLayersThreads);
  config.attrs = attributes;
  config.numAttrs = 2;
  return more_shared;
}

constexpr int kFewestStages = 3;

bool is_planned(const ProductPlan (&products)[kLayerWeights]) {
  return std::all_of(std::begin(products), std::end(products),
                     [](const ProductPlan& plan) { return plan.round_strips > 0; });
}

void plan_products(const FusedSizes& sizes, int token_tiles, int blocks, int stages,
                   ProductPlan (&products)[kLayerWeights]) {
  for (int w = 0; w < kLayerWeights; ++w) {
    const auto weight = static_cast<LayerWeight>(w);
    // A round's chunks are all in the ring, of which some may be half full.
    products[w] = ProductPlan::of(sizes.outputs(weight), sizes.inputs(weight), token_tiles,
                                  blocks / kLayersCluster, stages * kStagePieces / 2);
  }
}

}  // namespace

template <typename T>
LayersLaunch layers_launch(const FusedSizes& sizes) {
  const bool even = sizes.hidden % kPieceInputs == 0 && sizes.inner % kPieceInputs == 0 &&
                    sizes.hidden == sizes.heads * kFusedHeadDim;
  if (!device_has_clusters() || !even) {
    return {};
  }
  for (const int tiles : {4, 2, 1}) {
    const LayersLayout layout = layout_of(sizes, tiles);
    const int slice = Share::most(sizes.hidden / kPieceInputs, kLayersCluster) * kPieceInputs;
    if (layout.stages < kFewestStages || 16 * tiles * slice > kLayersThreads * 32) {
      continue;
    }
    cudaLaunchAttribute attributes[2];
    cudaLaunchConfig_t config{};
    if (launch_config<T>(config, attributes) != cudaSuccess) {
      cudaGetLastError();
      return {};
    }
    config.gridDim = dim3(kLayersCluster);
    config.dynamicSmemBytes = static_cast<std::size_t>(layout.bytes);
    int clusters = 0;
    if (cudaOccupancyMaxActiveClusters(&clusters, fused_layers_kernel<T, kFusedHeadDim>,
                                       &config) != cudaSuccess ||
        clusters == 0) {
      cudaGetLastError();
      return {};
    }
    ProductPlan products[kLayerWeights];
    plan_products(sizes, tiles, clusters * kLayersCluster, layout.stages, products);
    if (is_planned(products)) {
      return {clusters * kLayersCluster, 16 * tiles};
    }
  }
  return {};
}

template <typename T>
cudaError_t fused_layers(const FusedStepArgs<T>& args, const LayersInputs& inputs,
                         const LayersRoom<T>& room, unsigned steps, const LayersLaunch& launch,
                         T* normalized, cudaStream_t stream) {
  static_assert(sizeof(LayersKernelArgs<T>) <= 32764);
  LayersKernelArgs<T> of_kernel{};
  of_kernel.step = args;
  of_kernel.inputs = inputs;
  of_kernel.room = room;
  of_kernel.token_tiles = inputs.tokens_count <= 16 ? 1 : inputs.tokens_count <= 32 ? 2 : 4;
  of_kernel.layout = layout_of(args.sizes, of_kernel.token_tiles);
  plan_products(args.sizes, of_kernel.token_tiles, launch.blocks, of_kernel.layout.stages,
                of_kernel.products);
  of_kernel.normalized = normalized;
  of_kernel.arrivals = steps * static_cast<unsigned>(launch.blocks) *
                       static_cast<unsigned>(kLayersBarriers * args.sizes.layers + 1);
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config{};
  const cudaError_t error = launch_config<T>(config, attributes);
  if (error != cudaSuccess) {
    return error;
  }
  config.gridDim = dim3(static_cast<unsigned>(launch.blocks));
  config.dynamicSmemBytes = static_cast<std::size_t>(of_kernel.layout.bytes);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, fused_layers_kernel<T, kFusedHeadDim>, of_kernel);
}

template LayersLaunch layers_launch<__half>(const FusedSizes&);
template LayersLaunch layers_launch<__nv_bfloat16>(const FusedSizes&);
template cudaError_t fused_layers(const FusedStepArgs<__half>&, const LayersInputs&,
                                  const LayersRoom<__half>&, unsigned, const LayersLaunch&, __half*,
                                  cudaStream_t);
template cudaError_t fused_layers(const FusedStepArgs<__nv_bfloat16>&, const LayersInputs&,
                                  const LayersRoom<__nv_bfloat16>&, unsigned, const LayersLaunch&,
                                  __nv_bfloat16*, cudaStream_t);

}  // namespace kvcache::kernels
