// A quantised decoder's way to its weights.
#pragma once

#include "kernels/cuda/decoder_block.cuh"
#include "kernels/cuda/quantized_decoder.hpp"

namespace kvcache::kernels {

/// A warp's weights, unit after unit: a ring that it fills itself, a unit in each slot. The lane
/// that fetches goes through the step's units by itself, a ring ahead of those that multiply.
class QuantizedDecoderWeights {
 public:
  template <typename Args>
  __device__ QuantizedDecoderWeights(const DecoderKernelArgs<Args>& args, unsigned char* dynamic,
                                     DecoderStatic& shared)
      : args_(args.step),
        work_(shared.work),
        warp_(static_cast<int>(threadIdx.x) / 32),
        slots_(args.layout.chunks),
        slot_bytes_(args.layout.inputs_at / (kDecoderWarps * args.layout.chunks)),
        from_(args.step.stream +
              args.step.stream_at[static_cast<int>(blockIdx.x) * kDecoderWarps + warp_]),
        ring_(dynamic + warp_ * slots_ * slot_bytes_),
        arrivals_(shared.arrivals[warp_]),
        layers_left_(args.step.sizes.layers) {}

  /// By all lanes, when the block's work is known; the ring fills up.
  __device__ void begin() {
    if (is_fetching()) {
      for (int slot = 0; slot < slots_; ++slot) {
        arrivals_[slot].initialize();
      }
      find_units();
      for (int slot = 0; slot < slots_; ++slot) {
        fetch(slot);
      }
    }
    __syncwarp();
  }

  /// Waits for the next unit.
  [[nodiscard]] __device__ const unsigned char* wait() const {
    arrivals_[slot_].wait(parity_);
    return ring_ + slot_ * slot_bytes_;
  }

  /// It has been read.
  __device__ void advance() {
    __syncwarp();
    if (is_fetching()) {
      fetch(slot_);
    }
    if (++slot_ == slots_) {
      slot_ = 0;
      parity_ ^= 1U;
    }
  }

 private:
  [[nodiscard]] __device__ static bool is_fetching() { return threadIdx.x % 32 == 0; }

  /// The first unit of the product at hand, or of the next one that has any.
  __device__ void find_units() {
    for (;;) {
      strips_left_ = work_.strips[product_].count;
      pieces_ = padded_pieces(work_.slices[product_][warp_].count);
      pieces_left_ = pieces_;
      if (strips_left_ * pieces_ > 0) {
        const QuantizedKind& kind = product_ < kLayerProducts ? args_.layer_kind : args_.head_kind;
        unit_strips_ = kind.unit_strips();
        piece_bytes_ = kind.piece_bytes();
        return;
      }
      if (!to_next_product()) {
        return;
      }
    }
  }

  /// False where there is none.
  __device__ bool to_next_product() {
    if (product_ == kLayerProducts) {
      strips_left_ = 0;
      return false;
    }
    if (++product_ == kLayerProducts && --layers_left_ > 0) {
      product_ = 0;
    }
    return true;
  }

  __device__ void fetch(int slot) {
    if (strips_left_ == 0) {
      return;
    }
    const int strips = min(strips_left_, unit_strips_);
    const int pieces = min(pieces_left_, kUnitPieces);
    const auto bytes = static_cast<unsigned>(strips * pieces * piece_bytes_);
    arrivals_[slot].expect(bytes);
    arrivals_[slot].copy(ring_ + slot * slot_bytes_, from_, bytes, ReadAgain::no);
    from_ += bytes;
    pieces_left_ -= pieces;
    if (pieces_left_ == 0) {
      pieces_left_ = pieces_;
      strips_left_ -= strips;
      if (strips_left_ == 0 && to_next_product()) {
        find_units();
      }
    }
  }

  const QuantizedDecoderWeightArgs& args_;
  const DecoderWork& work_;
  int warp_;
  int slots_;
  int slot_bytes_;
  const unsigned char* from_;  // the next unit that is fetched
  unsigned char* ring_;
  CopyBarrier* arrivals_;
  int slot_ = 0;
  unsigned parity_ = 0;
  // Of the next unit that is fetched:
  int layers_left_;  // with its own
  int product_ = 0;
  int unit_strips_ = 0;
  int piece_bytes_ = 0;
  int pieces_ = 0;  // of the warp's slice
  int pieces_left_ = 0;
  int strips_left_ = 0;
};

}  // namespace kvcache::kernels
