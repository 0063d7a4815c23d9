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

/// What a launch works out once for all blocks.
template <typename T>
struct DecoderKernelArgs {
  DecoderArgs<T> step;
  DecoderShared layout;
  DecoderExchange exchange;
};

struct DecoderStatic {
  CopyBarrier arrivals[kDecoderWarps][kMaxChunks];
  float2 sums[2][kGroupStrips * kSumsOfStrip];  // the warps', in turns
  float squares[2][kDecoderWarps];              // of the inputs of norms, in turns
  float cos[kMaxHeadPairs];                     // of the token's position
  float sin[kMaxHeadPairs];
  uint4 queries[kMaxGroup * kMaxHeadPairs / 4];  // of a head of keys
  uint4 key[kMaxHeadPairs / 4];                  // of the new token
  uint4 value[kMaxHeadPairs / 4];
  float2 softmaxes[kDecoderWarps][kMaxGroup];
  TopLogit bests[kDecoderWarps];
};

/// A warp's weights, piece after piece.
template <typename T>
class DecoderWeights {
 public:
  __device__ DecoderWeights(const DecoderKernelArgs<T>& args, const DecoderStream& stream,
                            unsigned char* dynamic, DecoderStatic& shared)
      : lane_(static_cast<int>(threadIdx.x) % 32),
        slots_(args.layout.chunks),
        chunks_(stream.chunks()),
        from_(reinterpret_cast<const unsigned char*>(args.step.stream) +
              args.step.stream_at[stream.block * kDecoderWarps + stream.warp] * kPieceBytes),
        ring_(dynamic + stream.warp * slots_ * kChunkBytes),
        arrivals_(shared.arrivals[stream.warp]) {}

  /// By all lanes; the ring fills up.
  __device__ void begin() {
    if (lane_ == 0) {
      for (int slot = 0; slot < slots_; ++slot) {
        arrivals_[slot].initialize();
      }
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      for (int slot = 0; slot < slots_; ++slot) {
        fetch(slot);
      }
    }
    __syncwarp();
  }

  /// The lane's part of the next piece: eight neighbouring inputs of a column.
  __device__ uint4 next() {
    if (piece_ == 0) {
      arrivals_[slot_].wait(parity_);
    }
    const uint4 weight =
        reinterpret_cast<const uint4*>(ring_ + slot_ * kChunkBytes)[piece_ * 32 + lane_];
    if (++piece_ == kChunkPieces) {
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
    return weight;
  }

 private:
  __device__ void fetch(int slot) {
    if (fetched_ < chunks_) {
      arrivals_[slot].expect(kChunkBytes);
      arrivals_[slot].copy(ring_ + slot * kChunkBytes, from_ + std::int64_t{fetched_} * kChunkBytes,
                           kChunkBytes, ReadAgain::no);
      ++fetched_;
    }
  }

  int lane_;
  int slots_;
  int chunks_;
  const unsigned char* from_;
  unsigned char* ring_;
  CopyBarrier* arrivals_;
  int fetched_ = 0;  // by lane 0
  int slot_ = 0;
  int piece_ = 0;
  unsigned parity_ = 0;
};

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

/// The inputs of a product, two rows of 16 bits in shared memory: rounded ones, and what rounding
/// took. A warp writes and reads its own slice only.
template <typename T>
class DecoderInputRows {
 public:
  __device__ explicit DecoderInputRows(unsigned char* room)
      : rows_(reinterpret_cast<uint4*>(room)) {}

  /// Calls `take(piece, at, has)` for each eight inputs of the warp's slice, `at` being the first
  /// of them; lanes without any are asked with `has` false. `take` gives the values.
  template <typename Take>
  __device__ void fill(const Share& slice, int apart, const Take& take) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
    for (int first = slice.first; first < slice.first + slice.count; first += 8) {
      const int piece = first + lane / 4;
      const bool has = piece < slice.first + slice.count;
      const Octet octet = take(piece * kPieceInputs + lane % 4 * 8, has);
      if (has) {
        unsigned high[4];
        unsigned low[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float2 value{octet.values[2 * i], octet.values[2 * i + 1]};
          high[i] = pair_of<T>(value.x, value.y);
          const float2 rounded = values_of<T>(high[i]);
          low[i] = pair_of<T>(value.x - rounded.x, value.y - rounded.y);
        }
        const int at = piece * 4 + lane % 4;
        rows_[at] = {high[0], high[1], high[2], high[3]};
        rows_[apart + at] = {low[0], low[1], low[2], low[3]};
      }
    }
    __syncwarp();
  }

  /// The same of inputs that are pairs of 16 bits already, `take(at, has)` giving four of them.
  template <typename Take>
  __device__ void fill_rounded(const Share& slice, const Take& take) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
    for (int first = slice.first; first < slice.first + slice.count; first += 8) {
      const int piece = first + lane / 4;
      const bool has = piece < slice.first + slice.count;
      const uint4 pairs = take(piece * kPieceInputs + lane % 4 * 8, has);
      if (has) {
        rows_[piece * 4 + lane % 4] = pairs;
      }
    }
    __syncwarp();
  }

  /// A piece's inputs as the matrix instruction wants them of this lane.
  template <int kRows>
  [[nodiscard]] __device__ uint4 of_lane(int piece, int apart) const {
    return inputs_of_lane<kRows>(rows_, apart, piece, static_cast<int>(threadIdx.x) % 32);
  }

 private:
  uint4* rows_;
};

}  // namespace kvcache::kernels
