// How a block of attention_by_token.cu shares a head and its positions.
#pragma once

#include <algorithm>

#include "kernels/cuda/kept_vectors.cuh"

namespace kvcache::kernels::token_attention {

constexpr int kThreads = 128;      // of a block
constexpr int kManyThreads = 256;  // where there are few blocks
constexpr int kGroupLanes = 8;
constexpr int kWarpGroups = 32 / kGroupLanes;

/// How a head is divided among a group's lanes: lane l holds elements (chunk · 8 + l) · kVector …
/// Those of the cache are CacheElement's.
template <typename T, typename CacheElement, int kVectorSize, int kChunkCount, bool kIsShared,
          int kThreadCount = kThreads>
struct HeadLayout {
  using Cache = CacheElement;
  static constexpr int kBlockThreads = kThreadCount;
  static constexpr int kGroups = kBlockThreads / kGroupLanes;
  static constexpr int kVector = kVectorSize;
  static constexpr int kChunks = kChunkCount;
  static constexpr int kElements = kVector * kChunks;
  static constexpr int kMostDims = kElements * kGroupLanes;
  // Positions that a group attends to at once, whose keys and values are in 32 registers.
  static constexpr int kAhead =
      std::max(1, 64 * kThreads / kBlockThreads /
                      (kElements * std::max(2, static_cast<int>(sizeof(Cache)))));
  static constexpr bool kShared = kIsShared;  // whether they come through shared memory
  // That fit on a multiprocessor, so that batches of 64 rows and 12 heads have their past on its
  // way all at once.
  static constexpr int kBlocks = kShared && kChunks == 1 ? 6 * kThreads / kBlockThreads : 1;
  using Chunk = Vector<T, kVector>;
  using Kept = KeptPart<Cache, kVector, kChunks>;

  __device__ static int element(int lane, int chunk) {
    return (chunk * kGroupLanes + lane) * kVector;
  }
  __device__ static void store(const Kept& from, int lane, int head_dim, Cache* head) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      if (element(lane, c) < head_dim) {
        from.chunks[c].store(head + element(lane, c));
      }
    }
    if constexpr (std::is_same_v<Cache, std::int8_t>) {
      if (lane == 0) {
        store_scale<kVector>(from.scale, head + head_dim);
      }
    }
  }
  template <typename Element>
  __device__ static void load_chunks(const Element* head, int lane, int head_dim,
                                     Vector<Element, kVector> (&to)[kChunks]) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      to[c] =
          Vector<Element, kVector>::load_if(element(lane, c) < head_dim, head + element(lane, c));
    }
  }
  /// A lane's part of one head's key or value, or zeros.
  __device__ static void load(const Cache* head, int lane, int head_dim, bool exists, Kept& to) {
    load_chunks(head, lane, exists ? head_dim : 0, to.chunks);
    if constexpr (std::is_same_v<Cache, std::int8_t>) {
      to.scale = exists ? load_scale<kVector>(head + head_dim) : __float2bfloat16_rn(0.0F);
    }
  }
  /// The same of a new token, which the group's lanes round as the cache keeps it.
  __device__ static void load_new(const T* head, int lane, int head_dim, Kept& to) {
    Chunk chunks[kChunks];
    load_chunks(head, lane, head_dim, chunks);
    keep<Cache, kGroupLanes>(chunks, to);
  }
};

}  // namespace kvcache::kernels::token_attention
