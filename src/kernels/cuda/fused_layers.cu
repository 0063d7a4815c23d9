#include <algorithm>
#include <iterator>

#include "base/rounding.hpp"
#include "kernels/cuda/fused_launch.cuh"
#include "kernels/cuda/fused_layers.hpp"
#include "kernels/cuda/fused_layers_plan.hpp"
#include "kernels/cuda/fused_layers_step.cuh"

namespace kvcache::kernels {
namespace {

template <typename T, int kHeadDim, int kTilesLog, int kPerLane>
__global__ void __launch_bounds__(kLayersThreads, 1)
    fused_layers_kernel(const __grid_constant__ LayersKernelArgs<T> args) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ LayersShared shared;
  const auto thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    for (int i = 0; i < args.layout.stages; ++i) {
      shared.full[i].initialize();
    }
    shared.moments_there.initialize();
    shared.sums_there.initialize();
    shared.round_done.initialize(kLayersCluster * kLayersWarps);
    shared.next = {};
  }
  if (thread < kLayerWeights) {
    shared.parts[thread] = ProductPart::of(
        args.products[thread], static_cast<int>(blockIdx.x) / kLayersCluster,
        static_cast<int>(gridDim.x) / kLayersCluster, static_cast<int>(rank_in_cluster()));
    const ProductPart& part = shared.parts[thread];
    shared.weights[thread] =
        reinterpret_cast<const unsigned char*>(
            args.step.weights + args.step.sizes.weight_at(static_cast<LayerWeight>(thread))) +
        part.first_strip * part.strip_bytes + part.first_piece * kPieceBytes;
  }
  shared.inputs.bring(args.inputs, args.step.block_len_shift);
  __syncthreads();
  arrive_at_cluster();  // nobody is sent anything before the barriers are there
  wait_for_cluster();
  LayersStep<T, kHeadDim, kTilesLog, kPerLane>(args, dynamic, shared).run();
  arrive_at_cluster();  // nobody leaves while others may write to it
  wait_for_cluster();
}

/// Of a step of so many tokens, in tiles of 16; no stages where there is no room.
LayersLayout layout_of(const FusedSizes& sizes, int tiles_log) {
  const int slice = Share::most(std::max(sizes.inner, sizes.hidden) / kPieceInputs, kLayersCluster);
  LayersLayout layout;
  layout.row_vectors = slice * 4 + 1;  // eight rows lie on all banks
  // The attention has both in turn.
  constexpr int kAttention = kLayersWarps * LayersAttention<__half, kFusedHeadDim>::kWarpBytes;
  layout.sums_at = (layout.row_vectors * 16 * kLayersTileRows) << tiles_log;
  layout.ring_at = round_up(std::max(layout.sums_at + kSumsElements * 4, kAttention), 128);
  layout.stages =
      std::min((shared_capacity<LayersShared>() - layout.ring_at) / kStageBytes, kMaxStages);
  layout.bytes = layout.ring_at + layout.stages * kStageBytes;
  return layout;
}

template <typename T>
using LayersKernel = void (*)(LayersKernelArgs<T>);

template <typename T, int kTilesLog, int kPerLane>
LayersKernel<T> ready_kernel() {
  const auto kernel = fused_layers_kernel<T, kFusedHeadDim, kTilesLog, kPerLane>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_capacity<LayersShared>());
  return more_shared == cudaSuccess ? kernel : nullptr;
}

/// The kernel for a step of so many tiles, ready to be launched; null where there is none. Those of
/// wider models are for fewer tokens, as those of more do not fit into shared memory.
template <typename T>
LayersKernel<T> kernel_of(const FusedSizes& sizes, int tiles_log) {
  const int slice = Share::most(sizes.hidden / kPieceInputs, kLayersCluster) * kPieceInputs;
  const int per_lane = Share::most(slice / 4, kLayersThreads / (kLayersTileRows << tiles_log));
  switch (tiles_log) {
    case 0:
      return per_lane <= 2   ? ready_kernel<T, 0, 2>()
             : per_lane <= 4 ? ready_kernel<T, 0, 4>()
             : per_lane <= 8 ? ready_kernel<T, 0, 8>()
                             : nullptr;
    case 1:
      return per_lane <= 4   ? ready_kernel<T, 1, 4>()
             : per_lane <= 8 ? ready_kernel<T, 1, 8>()
                             : nullptr;
    case 2:
      return per_lane <= 8 ? ready_kernel<T, 2, 8>() : nullptr;
    default:
      return nullptr;
  }
}

/// Clusters of blocks.
TogetherConfig layers_config(int blocks, const LayersLayout& layout, cudaStream_t stream) {
  return {blocks, kLayersThreads, kLayersCluster, layout.bytes, stream};
}

constexpr int kFewestStages = 3;

/// Every cluster has a part of the queries: behind it and the attention its blocks meet once.
bool is_planned(const ProductPlan (&products)[kLayerWeights], int clusters) {
  return products[static_cast<int>(LayerWeight::qkv)].strips >= clusters &&
         std::all_of(std::begin(products), std::end(products), [&](const ProductPlan& plan) {
           return plan.round_strips > 0 && Share::most(plan.strips, clusters) <= kMaxClusterStrips;
         });
}

void plan_products(const FusedSizes& sizes, int tiles_log, int blocks, int stages,
                   ProductPlan (&products)[kLayerWeights]) {
  for (int w = 0; w < kLayerWeights; ++w) {
    const auto weight = static_cast<LayerWeight>(w);
    products[w] = ProductPlan::of(sizes.outputs(weight), sizes.inputs(weight), tiles_log,
                                  blocks / kLayersCluster, stages);
  }
}

}  // namespace

const char* why_no_layers(const FusedSizes& sizes) {
  if (!device_has_clusters()) {
    return "the GPU is older than sm_90";
  }
  if (sizes.hidden != sizes.heads * kFusedHeadDim) {
    return "its heads are not of 64";
  }
  if (!can_be_shared(sizes.hidden) || !can_be_shared(sizes.inner)) {
    return "its hidden or its inner size is no multiple of 32 from 128 on";
  }
  return nullptr;
}

template <typename T>
LayersLaunch layers_launch(const FusedSizes& sizes) {
  if (why_no_layers(sizes) != nullptr) {
    return {};
  }
  for (int tiles_log = 2; tiles_log >= 0; --tiles_log) {
    const LayersLayout layout = layout_of(sizes, tiles_log);
    const LayersKernel<T> kernel = kernel_of<T>(sizes, tiles_log);
    if (layout.stages < kFewestStages || kernel == nullptr) {
      continue;
    }
    const TogetherConfig one = layers_config(kLayersCluster, layout, nullptr);
    int clusters = 0;
    if (cudaOccupancyMaxActiveClusters(&clusters, kernel, &one.config) != cudaSuccess) {
      cudaGetLastError();
      continue;
    }
    ProductPlan products[kLayerWeights];
    if (clusters > 0) {
      plan_products(sizes, tiles_log, clusters * kLayersCluster, layout.stages, products);
    }
    if (is_planned(products, clusters)) {
      return {clusters * kLayersCluster, kLayersTileRows << tiles_log};
    }
  }
  return {};
}

template <typename T>
cudaError_t fused_layers(const FusedStepArgs<T>& args, const LayersInputs& inputs,
                         const LayersRoom<T>& room, unsigned steps, int other_tokens,
                         const LayersLaunch& launch, T* normalized, cudaStream_t stream) {
  static_assert(sizeof(LayersKernelArgs<T>) <= 32764);
  const int tiles_log = inputs.tokens_count <= 16 ? 0 : inputs.tokens_count <= 32 ? 1 : 2;
  LayersKernelArgs<T> of_kernel{};
  of_kernel.step = args;
  of_kernel.inputs = inputs;
  of_kernel.room = room;
  of_kernel.layout = layout_of(args.sizes, tiles_log);
  plan_products(args.sizes, tiles_log, launch.blocks, of_kernel.layout.stages, of_kernel.products);
  of_kernel.normalized = normalized;
  of_kernel.other_tokens = other_tokens;
  of_kernel.arrivals =
      steps * static_cast<unsigned>(launch.blocks) * static_cast<unsigned>(args.sizes.layers);
  const LayersKernel<T> kernel = kernel_of<T>(args.sizes, tiles_log);
  const TogetherConfig of_step = layers_config(launch.blocks, of_kernel.layout, stream);
  return kernel == nullptr ? cudaErrorInvalidValue
                           : cudaLaunchKernelEx(&of_step.config, kernel, of_kernel);
}

template LayersLaunch layers_launch<__half>(const FusedSizes&);
template LayersLaunch layers_launch<__nv_bfloat16>(const FusedSizes&);
template cudaError_t fused_layers(const FusedStepArgs<__half>&, const LayersInputs&,
                                  const LayersRoom<__half>&, unsigned, int, const LayersLaunch&,
                                  __half*, cudaStream_t);
template cudaError_t fused_layers(const FusedStepArgs<__nv_bfloat16>&, const LayersInputs&,
                                  const LayersRoom<__nv_bfloat16>&, unsigned, int,
                                  const LayersLaunch&, __nv_bfloat16*, cudaStream_t);

}  // namespace kvcache::kernels
