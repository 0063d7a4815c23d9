// What a block of fused_layers.cu does, phase after phase.
#pragma once

#include <cstdint>

#include "base/rounding.hpp"
#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/fused_layers_attention.cuh"
#include "kernels/cuda/fused_layers_block.cuh"
#include "kernels/cuda/fused_tokens.cuh"

namespace kvcache::kernels {

/// One block's way through the step of up to 16 · 2^kTilesLog tokens. A lane has kPerLane vectors
/// of a token's slice of the residual stream.
///
/// Each piece of code is there once: a phase's instructions are read anew each time, and what does
/// not fit into the cache for them comes slower than the data.
template <typename T, int kHeadDim, int kTilesLog, int kPerLane>
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
        attention_(args.step, shared.inputs, args.room, args.inputs.tiles_count),
        weights_(args, dynamic) {}

  __device__ void run() {
    bring_vectors(0, 0);
    embed();
    attention_.prefetch(0);
    if (warp_ == kFetchingWarp) {
      weights_.fetch(shared_);
    }
    clear_other_exchange();
    wait_for_copies();  // the first norm comes behind a barrier of the block
#pragma unroll 1
    for (int number = 0; number < kLayerWeights * sizes_.layers; ++number) {
      const int layer = number / kLayerWeights;
      const int w = number % kLayerWeights;
      multiply(layer, w);
      wait_for_copies();
      __syncthreads();
      if (w == 0) {
        arrive();
        attention_.begin(layer, reinterpret_cast<unsigned char*>(rows_));
      }
      if (warp_ == kFetchingWarp) {
        weights_.fetch(shared_);
      }
      if (w == 0) {
        meet();
        attention_.run(layer, reinterpret_cast<unsigned char*>(rows_),
                       exchange_of(layer) + exchange().attended());
        tell_cluster();
        if (layer + 1 < sizes_.layers) {
          attention_.prefetch(layer + 1);
        }
      }
    }
    finish();
  }

 private:
  static constexpr int kRows = kLayersTileRows << kTilesLog;
  static constexpr int kLanes = kLayersThreads / kRows;  // that have a token's slice

  /// Tells all blocks that what this one's threads wrote is there.
  __device__ void arrive() {
    arrivals_ += gridDim.x;
    if (thread_ == 0) {
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(args_.room.arrivals) : "memory");
    }
  }

  /// Waits for all blocks; what they wrote is there.
  __device__ void meet() {
    if (thread_ == 0) {
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

  [[nodiscard]] __device__ LayersExchange exchange() const { return {sizes_.hidden, sizes_.inner}; }
  /// A layer's part of this step's exchange.
  [[nodiscard]] __device__ unsigned* exchange_of(int layer) const {
    return args_.step.exchange + exchange().layer(layer);
  }
  /// The residual stream before product `w` of a layer adds to it: what the norm before it read.
  [[nodiscard]] __device__ unsigned* residual_before(int layer, int w) const {
    return w >= 2      ? exchange_of(layer) + exchange().after_attention()
           : layer > 0 ? exchange_of(layer - 1) + exchange().after_layer()
                       : args_.step.exchange;
  }

  [[nodiscard]] __device__ int tokens() const { return args_.inputs.tokens_count; }

  __device__ void embed() {
    const int pairs = sizes_.hidden / 2;
#pragma unroll 1
    for (int i = static_cast<int>(blockIdx.x) * kLayersThreads + thread_; i < tokens() * pairs;
         i += static_cast<int>(gridDim.x) * kLayersThreads) {
      const LayersToken& token = args_.inputs.tokens[i / pairs];
      float2 sum{nanf(""), nanf("")};
      if (token.id >= 0 && token.id < sizes_.vocab_size && token.position >= 0 &&
          token.position < sizes_.max_seq_len) {
        const float2 a = values_of<T>(
            load_pair(args_.step.token_weight + std::int64_t{token.id} * sizes_.hidden, i % pairs));
        const float2 b = values_of<T>(load_pair(
            args_.step.position_weight + std::int64_t{token.position} * sizes_.hidden, i % pairs));
        sum = {a.x + b.x, a.y + b.y};
      }
      send(args_.step.exchange + 2 * i, sum);
    }
  }

  /// The set that the step before has used becomes ready for the next one.
  __device__ void clear_other_exchange() {
    const auto clear = [&](std::int64_t at, int words) {
      auto* to = reinterpret_cast<uint4*>(args_.step.other_exchange + at);
#pragma unroll 1
      for (int i = thread_; i < words / 4; i += kLayersThreads) {
        to[i] = {kNotYet, kNotYet, kNotYet, kNotYet};
      }
    };
    // A part of a layer, or the embedding, at a time.
    const int used = args_.other_tokens;
#pragma unroll 1
    for (int part = static_cast<int>(blockIdx.x); part < kLayersParts * sizes_.layers + 1;
         part += static_cast<int>(gridDim.x)) {
      if (part == 0) {
        clear(0, used * sizes_.hidden);
      } else {
        const int number = (part - 1) % kLayersParts;
        clear(exchange().layer((part - 1) / kLayersParts) + exchange().part(number),
              used * exchange().part_words(number));
      }
    }
  }

  [[nodiscard]] __device__ LayerVectors vectors_at() const { return {sizes_.hidden, sizes_.inner}; }
  [[nodiscard]] __device__ const T* vectors_of(int layer) const {
    return args_.step.vectors + std::int64_t{layer} * vectors_at().elements();
  }

  /// Product number `w` of a layer, with what stands before and behind it.
  __device__ void multiply(int layer, int w) {
    const ProductPart& part = shared_.parts[w];
    if (w % 2 == 0) {
      normalize(part, residual_before(layer, w));
    } else {
      receive_rows(part,
                   exchange_of(layer) + (w == 1 ? exchange().attended() : exchange().expanded()),
                   w == 1 ? sizes_.hidden : sizes_.inner);
    }
    const bool is_last = w + 1 == kLayerWeights;
    if (!is_last || layer + 1 < sizes_.layers) {
      bring_vectors(is_last ? layer + 1 : layer, is_last ? 0 : w + 1);
    }
#pragma unroll 1
    for (int round = 0; round < part.strips; round += part.round_strips) {
      const int strips = min(part.round_strips, part.strips - round);
      if (round > 0 && warp_ == kFetchingWarp) {
        weights_.fetch(shared_);
      }
      add_products(part, strips);
      round_phase_ ^= 1U;
      end_sums(layer, w, part, round, strips);
      if (w > 0 || round + part.round_strips < part.strips) {
        tell_cluster();  // behind the queries, the attention needs the room first
      }
    }
  }

  /// This block's slice of 16-bit inputs that other blocks send, [tokens, size].
  __device__ void receive_rows(const ProductPart& part, const unsigned* from, int size) {
    constexpr int kAtOnce = 4;
    const int vectors = part.pieces * (kPieceInputs / 8);
    const int all = tokens() * vectors;
    from += part.first_piece * (kPieceInputs / 2);
    if (thread_ >= 32) {
      __syncthreads();  // the first warp polls alone until its first words are there
    }
#pragma unroll 1
    for (int first = thread_; first < round_up(all, 32); first += kAtOnce * kLayersThreads) {
      const unsigned* at[kAtOnce];
      uint4* to[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int number = first + i * kLayersThreads;
        const int row = number / vectors;
        const int vector = number - row * vectors;
        at[i] = number < all ? from + std::int64_t{row} * (size / 2) + 4 * vector : nullptr;
        to[i] = rows_ + row * args_.layout.row_vectors + vector;
      }
      const auto arrived = receive<4 * kAtOnce>(
          [&](Arriving<4 * kAtOnce>& arriving) { poll_vectors<kAtOnce>(at, arriving); });
      if (first == thread_ && thread_ < 32) {
        __syncthreads();
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (at[i] != nullptr) {
          *to[i] = {arrived.words[4 * i], arrived.words[4 * i + 1], arrived.words[4 * i + 2],
                    arrived.words[4 * i + 3]};
        }
      }
    }
    __syncthreads();
  }

  /// Of those that are not null.
  template <int kCount>
  __device__ static void poll_vectors(const unsigned* const (&at)[kCount],
                                      Arriving<4 * kCount>& arriving) {
    poll_each<kCount>([&](auto number) {
      constexpr int kNumber = decltype(number)::value;
      if (at[kNumber] != nullptr) {
        arriving.template poll_four<4 * kNumber>(at[kNumber]);
      }
    });
  }

  [[nodiscard]] __device__ int row() const { return thread_ / kLanes; }
  [[nodiscard]] __device__ int lane_of_row() const { return thread_ % kLanes; }

  /// On their way while the product before is computed: a product's bias, and this block's slice of
  /// the weight and bias of the norm before it.
  __device__ void bring_vectors(int layer, int w) {
    const ProductPart& part = shared_.parts[w];
    const T* of_layer = vectors_of(layer);
    if (thread_ < part.strips) {
      copy_to_shared(&shared_.bias[w % 2][thread_],
                     reinterpret_cast<const uint4*>(
                         of_layer + vectors_at().bias(static_cast<LayerWeight>(w))) +
                         part.first_strip + thread_);
    }
    const int vectors = part.pieces * (kPieceInputs / 8);
    if (w % 2 == 0 && thread_ < 2 * vectors) {
      const int which = thread_ < vectors ? 0 : 1;
      const int vector = thread_ - which * vectors;
      copy_to_shared(&shared_.norm[which][vector],
                     reinterpret_cast<const uint4*>(of_layer + vectors_at().norm_weight(w / 2) +
                                                    which * sizes_.hidden) +
                         part.first_piece * (kPieceInputs / 8) + vector);
    }
  }

  /// Layer norm of the residual stream, this block's slice of it. The blocks of the cluster tell
  /// each other their slice's moments.
  __device__ void normalize(const ProductPart& part, const unsigned* residual) {
    const int vectors = part.pieces * (kPieceInputs / 4);
    const bool has = row() < tokens();
    const unsigned* at[kPerLane];
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int vector = i * kLanes + lane_of_row();
      at[i] = has && vector < vectors ? residual + std::int64_t{row()} * sizes_.hidden +
                                            part.first_piece * kPieceInputs + 4 * vector
                                      : nullptr;
    }
    const auto arrived = receive_together<4 * kPerLane>(
        [&](Arriving<4 * kPerLane>& arriving) { poll_vectors<kPerLane>(at, arriving); });
    float4 x[kPerLane];
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      x[i] = {__uint_as_float(arrived.words[4 * i]), __uint_as_float(arrived.words[4 * i + 1]),
              __uint_as_float(arrived.words[4 * i + 2]), __uint_as_float(arrived.words[4 * i + 3])};
    }
    float sum = 0;
#pragma unroll
    for (const float4& v : x) {
      sum += (v.x + v.y) + (v.z + v.w);
    }
    const float mean_of_slice =
        __fdividef(sum_of_lanes<kLanes>(sum), static_cast<float>(4 * vectors));
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * kLanes + lane_of_row() < vectors) {
        const float4 d{x[i].x - mean_of_slice, x[i].y - mean_of_slice, x[i].z - mean_of_slice,
                       x[i].w - mean_of_slice};
        squares += (d.x * d.x + d.y * d.y) + (d.z * d.z + d.w * d.w);
      }
    }
    squares = sum_of_lanes<kLanes>(squares);
    if (thread_ == 0) {
      shared_.moments_there.expect(kLayersCluster * kRows * sizeof(float2));
    }
    if (lane_of_row() < kLayersCluster) {
      send_to_block(&shared_.moments[rank_][row()], float2{mean_of_slice, squares},
                    shared_.moments_there, static_cast<unsigned>(lane_of_row()));
    }
    shared_.moments_there.wait_for_cluster(moments_phase_);
    moments_phase_ ^= 1U;
    if (has) {
      const float2 moments = moments_of_row();
      const float mean = moments.x;
      const float scale = moments.y;
      auto* to = reinterpret_cast<unsigned*>(rows_ + row() * args_.layout.row_vectors);
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        const int vector = i * kLanes + lane_of_row();
        if (vector < vectors) {
          const uint2 weight = reinterpret_cast<const uint2*>(shared_.norm[0])[vector];
          const uint2 bias = reinterpret_cast<const uint2*>(shared_.norm[1])[vector];
          const float2 w[2] = {values_of<T>(weight.x), values_of<T>(weight.y)};
          const float2 b[2] = {values_of<T>(bias.x), values_of<T>(bias.y)};
          to[shuffled_pair(2 * vector)] = pair_of<T>((x[i].x - mean) * scale * w[0].x + b[0].x,
                                                     (x[i].y - mean) * scale * w[0].y + b[0].y);
          to[shuffled_pair(2 * vector + 1)] = pair_of<T>((x[i].z - mean) * scale * w[1].x + b[1].x,
                                                         (x[i].w - mean) * scale * w[1].y + b[1].y);
        }
      }
    }
    __syncthreads();
  }

  /// Of slices' moments those of all: mean, and one by the deviation (Chan, Golub and LeVeque
  /// 1983).
  [[nodiscard]] __device__ float2 moments_of_row() const {
    const int all_pieces = sizes_.hidden / kPieceInputs;
    const float inverse = __fdividef(1.0F, static_cast<float>(all_pieces));
    float mean = 0;
    float squares = 0;
#pragma unroll
    for (int rank = 0; rank < kLayersCluster; ++rank) {
      mean += shared_.moments[rank][row()].x * inverse *
              static_cast<float>(Share::of(all_pieces, rank, kLayersCluster).count);
    }
#pragma unroll
    for (int rank = 0; rank < kLayersCluster; ++rank) {
      const float2 one = shared_.moments[rank][row()];
      squares += one.y + (one.x - mean) * (one.x - mean) *
                             static_cast<float>(kPieceInputs *
                                                Share::of(all_pieces, rank, kLayersCluster).count);
    }
    return {mean, rsqrtf(squares * inverse / kPieceInputs + args_.step.last_norm.epsilon)};
  }

  /// The sums of a round's strips over this block's slice, to the blocks of the cluster that end
  /// them.
  __device__ void add_products(const ProductPart& part, int strips) {
    const int of_tile = warp_ >> kTilesLog;
    const int groups = 1 << part.strip_groups_log;
    const int group = of_tile & (groups - 1);
    const int own = (strips - group + groups - 1) >> part.strip_groups_log;
    const int chunks = part.chunks(strips);
    weights_.wait(chunks, shared_);
    static_assert(kStripsOfWarp == 4);
    if (own == 1) {
      add_strips<1>(part, group, of_tile >> part.strip_groups_log);
    } else if (own == 2) {
      add_strips<2>(part, group, of_tile >> part.strip_groups_log);
    } else if (own == 3) {
      add_strips<3>(part, group, of_tile >> part.strip_groups_log);
    } else if (own == 4) {
      add_strips<4>(part, group, of_tile >> part.strip_groups_log);
    }
    weights_.pass(chunks);
  }

  /// Strips `group`, and so many groups further each, over the warp's share of the pieces.
  template <int kStrips>
  __device__ void add_strips(const ProductPart& part, int group, int share) {
    const int tile = warp_ & ((1 << kTilesLog) - 1);
    const int first = part.pieces * share >> part.piece_groups_log;
    const int last = part.pieces * (share + 1) >> part.piece_groups_log;
    const uint4* rows = rows_ + (tile * 16 + lane_ % 16) * args_.layout.row_vectors + lane_ / 16;
    float sums[kStrips][2][4] = {};
#pragma unroll 1
    for (int piece = first; piece < last;) {
      // As far as pieces lie one behind the other.
      const int end =
          part.chunk_strips_log >= 0 ? last : min(last, (piece / kStagePieces + 1) * kStagePieces);
      const uint4* strip[kStrips];
#pragma unroll
      for (int i = 0; i < kStrips; ++i) {
        strip[i] = weights_.at(part, group + (i << part.strip_groups_log), piece) + lane_;
      }
#pragma unroll 1
      for (; piece + 2 <= end; piece += 2) {
        add_pieces<2>(rows + piece * 4, strip, sums);
      }
      if (piece < end) {
        add_pieces<1>(rows + piece * 4, strip, sums);
        ++piece;
      }
    }
    wait_for_round();
    const int slot = (rank_ << part.piece_groups_log) + share;
    const int slots_log = kLayersClusterLog + part.piece_groups_log;
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      int number = group + (i << part.strip_groups_log);
      unsigned owner = 0;
      while (number >= part.owned_strips) {
        number -= part.owned_strips;
        ++owner;
      }
      float* to = sums_ +
                  (((number << slots_log) + slot) * kRows + tile * 16 + lane_ / 4) * kStripColumns +
                  lane_ % 4 * 2;
      send_to_block(to, float2{sums[i][0][0] + sums[i][1][0], sums[i][0][1] + sums[i][1][1]},
                    shared_.sums_there, owner);
      send_to_block(to + 8 * kStripColumns,
                    float2{sums[i][0][2] + sums[i][1][2], sums[i][0][3] + sums[i][1][3]},
                    shared_.sums_there, owner);
    }
  }

  /// Neighbouring pieces: all loads, then all products.
  template <int kPieces, int kStrips>
  __device__ static void add_pieces(const uint4* rows, const uint4* (&strip)[kStrips],
                                    float (&sums)[kStrips][2][4]) {
    unsigned inputs[kPieces][2][4];
    uint4 weights[kPieces][kStrips];
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      load_matrices(rows + p * 4, inputs[p][0]);
      load_matrices(rows + p * 4 + 2, inputs[p][1]);
#pragma unroll
      for (int i = 0; i < kStrips; ++i) {
        weights[p][i] = strip[i][p * 32];
      }
    }
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
#pragma unroll
      for (int i = 0; i < kStrips; ++i) {
        multiply_add<T>(sums[i][0], inputs[p][0], weights[p][i].x, weights[p][i].y);
        multiply_add<T>(sums[i][1], inputs[p][1], weights[p][i].z, weights[p][i].w);
      }
    }
#pragma unroll
    for (const uint4*& of_strip : strip) {
      of_strip += kPieces * 32;
    }
  }

  /// Tells the cluster's blocks that this warp has read what they sent: they may send again.
  __device__ void tell_cluster() {
    __syncwarp();
    if (lane_ < kLayersCluster) {
      shared_.round_done.arrive_relaxed_in_block(static_cast<unsigned>(lane_));
    }
  }
  /// Waits for that of all warps of the cluster.
  __device__ void wait_for_round() {
    shared_.round_done.wait_for_cluster(round_phase_ ^ 1U);  // at first, nobody was sent anything
  }

  /// Adds up what the cluster's blocks have of this block's own strips, and hands over the results.
  __device__ void end_sums(int layer, int w, const ProductPart& part, int round, int strips) {
    const int first_own = rank_ * part.owned_strips;
    const int own = max(min(part.owned_strips, strips - first_own), 0);
    const int slots = kLayersCluster << part.piece_groups_log;
    const int first_strip = round + first_own;
    if (thread_ == 0) {
      shared_.sums_there.expect(static_cast<unsigned>(own * slots * kRows * kStripColumns * 4));
    }
    const bool adds = w % 2 == 1;
    const unsigned* at[kItemsOfThread];
#pragma unroll
    for (int item = 0; item < kItemsOfThread; ++item) {
      const int i = thread_ + item * kLayersThreads;
      at[item] = adds && i < own * kRows * 4 && token_of(i) < tokens()
                     ? residual_before(layer, w) + residual_at(part, first_strip, i)
                     : nullptr;
    }
    const auto before = receive<2 * kItemsOfThread>([&](Arriving<2 * kItemsOfThread>& arriving) {
      poll_each<kItemsOfThread>([&](auto number) {
        constexpr int kNumber = decltype(number)::value;
        if (at[kNumber] != nullptr) {
          arriving.template poll_two<2 * kNumber>(at[kNumber]);
        }
      });
    });
    shared_.sums_there.wait_for_cluster(sums_phase_);
    sums_phase_ ^= 1U;
#pragma unroll
    for (int item = 0; item < kItemsOfThread; ++item) {
      const int i = thread_ + item * kLayersThreads;
      if (i >= own * kRows * 4 || token_of(i) >= tokens()) {
        continue;
      }
      const int strip = i / (4 * kRows);
      const float* from = sums_ + (strip * slots * kRows + token_of(i)) * kStripColumns + i % 4 * 2;
      float2 sum{0.0F, 0.0F};
#pragma unroll 4
      for (int slot = 0; slot < slots; ++slot) {
        const float2 one = *reinterpret_cast<const float2*>(from);
        from += kRows * kStripColumns;
        sum.x += one.x;
        sum.y += one.y;
      }
      const float2 bias = values_of<T>(
          reinterpret_cast<const unsigned*>(&shared_.bias[w % 2][first_strip + strip])[i % 4]);
      sum.x += bias.x + __uint_as_float(before.words[2 * item]);
      sum.y += bias.y + __uint_as_float(before.words[2 * item + 1]);
      const int pair = pair_of_item(part, first_strip, i);
      if (adds) {
        send(exchange_of(layer) +
                 (w == 1 ? exchange().after_attention() : exchange().after_layer()) +
                 residual_at(part, first_strip, i),
             sum);
      } else if (w == 2) {
        send(exchange_of(layer) + exchange().expanded() + token_of(i) * (sizes_.inner / 2) +
                 shuffled_pair(pair),
             pair_of<T>(gelu_by_exp(sum.x), gelu_by_exp(sum.y)));
      } else {
        end_qkv(layer, token_of(i), 2 * pair, pair_of<T>(sum.x, sum.y));
      }
    }
  }

  /// Item `i` of a round's results is a token's in a pair of columns.
  [[nodiscard]] __device__ static int token_of(int i) { return i / 4 % kRows; }
  [[nodiscard]] __device__ static int pair_of_item(const ProductPart& part, int first_strip,
                                                   int i) {
    return (part.first_strip + first_strip + i / (4 * kRows)) * (kStripColumns / 2) + i % 4;
  }
  [[nodiscard]] __device__ int residual_at(const ProductPart& part, int first_strip, int i) const {
    return token_of(i) * sizes_.hidden + 2 * pair_of_item(part, first_strip, i);
  }

  /// Two elements of a token's query, or of its new key or value to the cache.
  __device__ void end_qkv(int layer, int token, int column, unsigned rounded) {
    if (column < sizes_.hidden) {
      reinterpret_cast<unsigned*>(args_.room.queries)[(token * sizes_.hidden + column) / 2] =
          rounded;
      return;
    }
    const bool is_value = column >= 2 * sizes_.hidden;
    const int of_part = column - (is_value ? 2 : 1) * sizes_.hidden;
    const int2 at = shared_.inputs.append[token];
    const std::int64_t row =
        ((std::int64_t{at.x} * sizes_.heads + of_part / kHeadDim) << args_.step.block_len_shift) +
        at.y;
    T* pool = args_.step.pools[2 * layer + (is_value ? 1 : 0)];
    *reinterpret_cast<unsigned*>(pool + row * kHeadDim + of_part % kHeadDim) = rounded;
  }

  /// The last norm of the tokens whose logits are asked for, by a warp each.
  __device__ void finish() {
    const int vectors = sizes_.hidden / 4;
#pragma unroll 1
    for (int row = static_cast<int>(blockIdx.x) + warp_ * static_cast<int>(gridDim.x);
         row < args_.inputs.logits_count; row += static_cast<int>(gridDim.x) * kLayersWarps) {
      const unsigned* residual = exchange_of(sizes_.layers - 1) + exchange().after_layer() +
                                 args_.inputs.logits_tokens[row] * sizes_.hidden;
      const auto* x = reinterpret_cast<const float4*>(residual);
      float sum = 0;
#pragma unroll 1
      for (int i = lane_; i < vectors; i += 32) {
        Arriving<4> arriving;
        do {
          arriving.template poll_four<0>(residual + 4 * i);
        } while (!arriving.are_there());
        sum += (__uint_as_float(arriving.words[0]) + __uint_as_float(arriving.words[1])) +
               (__uint_as_float(arriving.words[2]) + __uint_as_float(arriving.words[3]));
      }
      const float mean = sum_of_lanes(sum) / static_cast<float>(sizes_.hidden);
      float squares = 0;
#pragma unroll 1
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
#pragma unroll 1
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
  unsigned round_phase_ = 0;
  LayersAttention<T, kHeadDim> attention_;
  LayersWeights<T> weights_;
};

}  // namespace kvcache::kernels
