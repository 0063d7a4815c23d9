// A quantised decoder's way to its weights: a warp of the block brings them all, into a ring for
// each of the others, a unit in each slot. A copy keeps the lane that asks for it until the copy
// engine takes it, some hundreds of cycles where all warps ask at once.
#pragma once

#include "kernels/cuda/decoder_block.cuh"
#include "kernels/cuda/quantized_decoder.hpp"

namespace kvcache::kernels {

/// What a block of a quantised decoder has in static shared memory.
template <int kTokens>
struct QuantizedDecoderStatic {
  DecoderStaticOf<kTokens> of_any;
  CopyBarrier freed[kDecoderWarps][kMaxChunks];  // slots of the rings, as often as they were read
  float queries[kMaxGroup][kMaxHeadDim];         // of a head of keys
  float keys[kTokens][kMaxHeadDim];              // of the new tokens that the block's one sees,
  float values[kTokens][kMaxHeadDim];            // as the cache keeps them
  unsigned largest[2];                           // of the warps that round, as bits
};

/// The slots of a warp that computes, in the order in which units come.
class QuantizedDecoderRing {
 public:
  template <typename Static>
  __device__ QuantizedDecoderRing(const DecoderShared& layout, int warp, unsigned char* dynamic,
                                  Static& shared)
      : slots_(layout.chunks),
        slot_bytes_(layout.inputs_at / (kDecoderWarps * layout.chunks)),
        memory_(dynamic + warp * slots_ * slot_bytes_),
        arrivals_(shared.of_any.arrivals[warp]),
        freed_(shared.freed[warp]) {}

  __device__ void initialize() const {
    for (int slot = 0; slot < slots_; ++slot) {
      arrivals_[slot].initialize();
      freed_[slot].initialize();
    }
  }

  __device__ void to_next_slot() {
    if (++slot_ == slots_) {
      slot_ = 0;
      parity_ ^= 1U;
    }
  }

  [[nodiscard]] __device__ unsigned char* slot() const { return memory_ + slot_ * slot_bytes_; }
  [[nodiscard]] __device__ CopyBarrier& arrival() const { return arrivals_[slot_]; }
  [[nodiscard]] __device__ CopyBarrier& freed() const { return freed_[slot_]; }
  [[nodiscard]] __device__ unsigned parity() const { return parity_; }

 private:
  int slots_;
  int slot_bytes_;
  unsigned char* memory_;
  CopyBarrier* arrivals_;
  CopyBarrier* freed_;
  int slot_ = 0;
  unsigned parity_ = 0;
};

/// A warp's weights, unit after unit.
class QuantizedDecoderWeights {
 public:
  __device__ explicit QuantizedDecoderWeights(const QuantizedDecoderRing& ring) : ring_(ring) {}

  __device__ void begin() const {}

  /// Looks whether the next unit is there; so the answer is there when it is waited for.
  __device__ void look() { is_there_ = ring_.arrival().is_through(ring_.parity()); }

  /// Waits for the unit that was looked for.
  [[nodiscard]] __device__ const unsigned char* wait() const {
    if (!is_there_) {
      ring_.arrival().wait(ring_.parity());
    }
    return ring_.slot();
  }

  /// It has been read.
  __device__ void advance(const Loads& loads) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      ring_.freed().arrive(loads);
    }
    ring_.to_next_slot();
  }

 private:
  QuantizedDecoderRing ring_;
  bool is_there_ = false;
};

/// A warp that looks all the time takes others' turns.
constexpr unsigned kNanosecondsBetweenLooks = 60;

/// By a warp: all weights of a step, a lane for each of the warps that compute. The lanes go
/// through the products together, so that no warp waits at the end of a product for another whose
/// units are behind those of a product that comes later.
template <typename Args, typename Static>
__device__ void fetch_quantized_weights(const DecoderKernelArgs<Args>& args, unsigned char* dynamic,
                                        Static& shared) {
  const auto warp = static_cast<int>(threadIdx.x) % 32;
  if (warp >= kDecoderWarps) {
    return;
  }
  const DecoderWork& work = shared.of_any.work;
  QuantizedDecoderRing ring(args.layout, warp, dynamic, shared);
  const unsigned char* from =
      args.step.stream + args.step.stream_at[static_cast<int>(blockIdx.x) * kDecoderWarps + warp];
#pragma unroll 1
  for (int product = 0, layer = 0;;) {
    const QuantizedKind& kind =
        product < kLayerProducts ? args.step.layer_kind : args.step.head_kind;
    const int strips = work.strips[product].count;
    const int pieces = padded_pieces(work.slices[product][warp].count);
#pragma unroll 1
    for (int strip = 0; strip < strips; strip += kind.unit_strips()) {
      const int of_unit = min(strips - strip, kind.unit_strips());
#pragma unroll 1
      for (int piece = 0; piece < pieces; piece += kUnitPieces) {
        const auto bytes =
            static_cast<unsigned>(of_unit * min(pieces - piece, kUnitPieces) * kind.piece_bytes());
        while (!ring.freed().is_through(ring.parity() ^ 1U)) {  // at first, all are free
          __nanosleep(kNanosecondsBetweenLooks);
        }
        ring.arrival().expect(bytes);
        ring.arrival().copy(ring.slot(), from, bytes, ReadAgain::no);
        ring.to_next_slot();
        from += bytes;
      }
    }
    if (product == kLayerProducts) {
      break;
    }
    if (++product == kLayerProducts && ++layer < args.step.sizes.layers) {
      product = 0;
    }
  }
}

}  // namespace kvcache::kernels
