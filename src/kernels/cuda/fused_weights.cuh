// A block's part of the layers' weights: it flows through shared memory in the order of its use,
// each strip on its way while the layer before is computed, and in the end the head's.
#pragma once

#include "kernels/cuda/fused_block.cuh"
#include "kernels/cuda/fused_head.cuh"

namespace kvcache::kernels {

/// It is given the head where it needs it: an object with a pointer into itself would lie in memory
/// instead of registers, and all that the step keeps with it.
template <typename T, typename Shape>
class FusedWeights {
 public:
  __device__ FusedWeights(const FusedStepArgs<T>& args, const FusedSharedLayout& layout,
                          unsigned char* slots, FusedShared& shared)
      : args_(args), layout_(layout), slots_(slots), shared_(shared) {
#pragma unroll
    for (int w = 0; w < kLayerWeights; ++w) {
      const auto weight = static_cast<LayerWeight>(w);
      shares_[w] = StripShare::of(Shape::sizes().strips(weight), static_cast<int>(blockIdx.x),
                                  static_cast<int>(gridDim.x), layout_.first_block(weight));
    }
  }

  /// By one thread, the one that fetches: the first layer's.
  __device__ void begin(FusedHead<T, Shape>& head) {
    for (CopyBarrier& arrival : shared_.layer_arrivals) {
      arrival.initialize();
    }
    fetch<LayerWeight::qkv>(0, false, head);
    fetch<LayerWeight::projection>(0, false, head);
    fetch<LayerWeight::expansion>(0, false, head);
    fetch<LayerWeight::contraction>(0, false, head);
  }

  template <LayerWeight kWeight>
  [[nodiscard]] __device__ const StripShare& share() const {
    return shares_[static_cast<int>(kWeight)];
  }

  template <LayerWeight kWeight>
  [[nodiscard]] __device__ const uint4* strips() const {
    return reinterpret_cast<const uint4*>(slots_ + layout_.weight_slot[static_cast<int>(kWeight)] *
                                                       Shape::kSlotBytes);
  }

  template <LayerWeight kWeight>
  __device__ void wait(int layer) {
    shared_.layer_arrivals[static_cast<int>(kWeight)].wait(static_cast<unsigned>(layer) % 2);
  }

  /// The block's strips of a weight on their way, by one thread; those of the layer before are used
  /// up. Slot by slot with pauses, where the warp has nothing else to do: all blocks fetch at the
  /// same time, and what they wait for from each other comes the same way.
  template <LayerWeight kWeight>
  __device__ void fetch(int layer, bool pauses, FusedHead<T, Shape>& head) {
    constexpr unsigned kCyclesApart = 300;
    constexpr int kIndex = static_cast<int>(kWeight);
    constexpr int kStrip = Shape::sizes().strip_elements(kWeight);
    const int slot = layout_.weight_slot[kIndex];
    if (layer == args_.sizes.layers) {
      fetch_head(head, slot, layout_.weight_slot[kIndex + 1]);
    } else if (share<kWeight>().count > 0) {
      const auto* from = reinterpret_cast<const unsigned char*>(
          args_.weights + layer * Shape::sizes().layer_elements() +
          Shape::sizes().weight_at(kWeight) + share<kWeight>().first * kStrip);
      const int slots = share<kWeight>().count * Shape::sizes().slots_per_strip(kWeight);
      CopyBarrier& arrival = shared_.layer_arrivals[kIndex];
      arrival.expect(static_cast<unsigned>(slots * Shape::kSlotBytes));
#pragma unroll 1
      for (int i = 0; i < slots; ++i) {
        if (pauses && i > 0) {
          pause(kCyclesApart);
        }
        arrival.copy(slots_ + (slot + i) * Shape::kSlotBytes, from + i * Shape::kSlotBytes,
                     Shape::kSlotBytes, ReadAgain::no);
      }
    }
    // Slots that no layer uses: some in each layer.
    if (kWeight == LayerWeight::expansion && layer > 0) {
      const int unused = layout_.weight_slot[0];
      fetch_head(head, unused * (layer - 1) / args_.sizes.layers,
                 unused * layer / args_.sizes.layers);
    }
  }

 private:
  /// The head's first strips, each into the slot of its number.
  __device__ static void fetch_head(FusedHead<T, Shape>& head, int first, int end) {
#pragma unroll 1
    for (int slot = first; slot < end; ++slot) {
      head.fetch(slot, slot);
    }
  }

  const FusedStepArgs<T>& args_;
  const FusedSharedLayout& layout_;
  unsigned char* slots_;
  FusedShared& shared_;
  StripShare shares_[kLayerWeights];
};

}  // namespace kvcache::kernels
