// What a block of a fused decoder has in shared memory, and its way to weights and inputs.
#pragma once

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/exchange.cuh"
#include "kernels/cuda/fused_decoder.hpp"
#include "kernels/cuda/fused_products.cuh"

namespace kvcache::kernels {

/// A strip's sums of the warps, and a gap so that neighbouring strips lie in other banks.
constexpr int kSumsOfStrip = kDecoderWarps * (kStripColumns / 2) + 4;
constexpr int kMaxHeadPairs = 128;  // of a head_dim

/// Pieces of inputs that a warp's lanes fill at once.
constexpr int kRoundPieces = 8;

/// What a launch works out once for all blocks.
template <typename Args>
struct DecoderKernelArgs {
  Args step;
  DecoderShared layout;
  DecoderExchange exchange;
  int strips[kLayerProducts + 1];  // of each product
  int pieces[kLayerProducts + 1];
  int together[kLayerProducts + 1] = {1, 1, 1, 1, 1};  // pieces that no two warps share
  int group;                                           // query heads of a head of keys

  DecoderKernelArgs(const Args& args, const DecoderShared& shared, const DecoderExchange& of_step)
      : step(args), layout(shared), exchange(of_step), group(args.sizes.group()) {
    for (int product = 0; product <= kLayerProducts; ++product) {
      strips[product] = args.sizes.strips(static_cast<DecoderProduct>(product));
      pieces[product] = args.sizes.pieces(static_cast<DecoderProduct>(product));
    }
  }
};

/// A block's share of the work, by products: divisions, once a step.
struct DecoderWork {
  Share strips[kLayerProducts + 1];
  Share slices[kLayerProducts + 1][kDecoderWarps];  // of inputs, in pieces

  template <typename Args>
  __device__ void fill(const DecoderKernelArgs<Args>& args) {
    const int number = static_cast<int>(threadIdx.x);
    if (number <= kLayerProducts) {
      strips[number] =
          Share::of(args.strips[number], static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    }
    if (number < (kLayerProducts + 1) * kDecoderWarps) {
      const int product = number / kDecoderWarps;
      const int warp = number % kDecoderWarps;
      slices[product][warp] =
          decoder_slice(args.pieces[product], args.together[product], warp);
    }
  }
};

/// What a block of any decoder has in static shared memory.
struct DecoderStatic {
  DecoderWork work;
  CopyBarrier arrivals[kDecoderWarps][kMaxChunks];  // of chunks of weights
  float2 sums[2][kGroupStrips * kSumsOfStrip];      // the warps', in turns
  float squares[2][kDecoderWarps];                  // of the inputs of norms, in turns
  float cos[kMaxHeadPairs];                         // of the token's position
  float sin[kMaxHeadPairs];
  float2 softmaxes[kDecoderWarps][kMaxGroup];
  TopLogit bests[kDecoderWarps];
};

/// A warp's weights, piece after piece: a ring of chunks of kBytes that it fills itself. Pieces is
/// an integer, or its type if all chunks have as many pieces.
template <int kBytes, typename Pieces>
class DecoderWeights {
 public:
  /// Of a stream `chunks` long.
  __device__ DecoderWeights(const unsigned char* from, int chunks, int slots,
                            unsigned char* dynamic, DecoderStatic& shared)
      : lane_(static_cast<int>(threadIdx.x) % 32), slots_(slots), from_(from), left_(chunks) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    ring_ = dynamic + warp * slots_ * kBytes;
    arrivals_ = shared.arrivals[warp];
  }

  /// By all lanes; the ring fills up.
  __device__ void begin() {
    if (lane_ == 0) {
      for (int slot = 0; slot < slots_; ++slot) {
        arrivals_[slot].initialize();
      }
      for (int slot = 0; slot < slots_; ++slot) {
        fetch(slot);
      }
    }
    __syncwarp();
  }

  /// Of the chunk that comes next, and of those behind it. What is left of a chunk is none.
  __device__ void set_pieces(Pieces pieces) {
    if (piece_ > 0) {
      next_chunk();
    }
    pieces_ = pieces;
  }

  /// Waits for the next pieces, and says how many of `wanted` are there, one behind the other.
  __device__ int wait(int wanted) const {
    if (piece_ == 0) {
      arrivals_[slot_].wait(parity_);
    }
    const int left = pieces_ - piece_;
    return wanted < left ? wanted : left;
  }

  /// The first of them, where each has so many bytes.
  [[nodiscard]] __device__ const unsigned char* first(int piece_bytes) const {
    return ring_ + slot_ * kBytes + piece_ * piece_bytes;
  }

  /// So many have been read.
  __device__ void advance(int count) {
    piece_ += count;
    if (piece_ == pieces_) {
      next_chunk();
    }
  }

 private:
  __device__ void next_chunk() {
    piece_ = 0;
    __syncwarp();
    if (lane_ == 0) {
      fetch(slot_);
    }
    if (++slot_ == slots_) {
      slot_ = 0;
      parity_ ^= 1U;
    }
  }

  __device__ void fetch(int slot) {
    if (left_ > 0) {
      arrivals_[slot].expect(kBytes);
      arrivals_[slot].copy(ring_ + slot * kBytes, from_, kBytes, ReadAgain::no);
      from_ += kBytes;
      --left_;
    }
  }

  int lane_;
  int slots_;
  const unsigned char* from_;  // the next chunk that is fetched
  int left_;                   // of them
  unsigned char* ring_ = nullptr;
  CopyBarrier* arrivals_ = nullptr;
  int slot_ = 0;
  int piece_ = 0;
  Pieces pieces_ = {};
  unsigned parity_ = 0;
};

constexpr unsigned kCyclesBetweenPolls = 30;

/// Waits for words (exchange.cuh), each warp for its own.
template <int kWords, typename Poll>
__device__ Arriving<kWords> receive_paced(const Poll& poll) {
  Arriving<kWords> arriving;
  poll(arriving);
  while (!__all_sync(kAllLanes, arriving.are_there())) {
    pause(kCyclesBetweenPolls);
    poll(arriving);
  }
  return arriving;
}

/// Eight neighbouring values.
struct Octet {
  float values[8];

  template <typename T>
  __device__ static Octet of(const uint4& bits) {
    const unsigned words[4]{bits.x, bits.y, bits.z, bits.w};
    Octet octet;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = values_of<T>(words[i]);
      octet.values[2 * i] = pair.x;
      octet.values[2 * i + 1] = pair.y;
    }
    return octet;
  }
};

}  // namespace kvcache::kernels
