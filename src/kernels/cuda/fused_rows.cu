#include "kernels/cuda/fused_rows.hpp"
#include "kernels/cuda/fused_rows_block.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

template <typename T, int kTiles, int kHeadDim>
__global__ void __launch_bounds__(kRowsThreads, 1)
    fused_rows_kernel(const __grid_constant__ RowsKernelArgs<T> args) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ RowsShared shared;
  RowsBlock<T, kTiles, kHeadDim>(args, dynamic, shared).run();
}

/// Grid: steps, tasks. A thread has a vector of the stream.
template <typename T>
__global__ void pack_rows_kernel(RowsStream stream, const T* weight, int layer, RowsWeight which,
                                 uint4* to) {
  const RowsProduct product = stream.sizes.product(which);
  const auto step = static_cast<int>(blockIdx.x);
  const auto task = static_cast<int>(blockIdx.y);
  const auto lane = static_cast<int>(threadIdx.x);
  const auto element = [&](int input, int output) {
    if (input >= product.inputs || output >= product.outputs) {
      return from_float<T>(0.0F);
    }
    constexpr auto kPanel = static_cast<int>(kPanelColumns);
    return which == RowsWeight::head
               ? weight[std::int64_t{output} * product.inputs + input]
               : weight[(std::int64_t{output / kPanel} * product.inputs + input) * kPanel +
                        output % kPanel];
  };
  Vector<T> elements;
  for (int eight = 0; eight < 2; ++eight) {
    const int output = task * kTaskColumns + eight * 8 + lane / 4;
    for (int i = 0; i < 4; ++i) {
      const int input = step * kStepInputs + lane % 4 * 2 + i % 2 + i / 2 * 8;
      elements.elements[4 * eight + i] = element(input, output);
    }
  }
  to[(stream.at(layer, which, task) + step) * kStepVectors + lane] =
      *reinterpret_cast<const uint4*>(&elements);
}

template <typename T>
using RowsKernel = void (*)(RowsKernelArgs<T>);

template <typename T, int kTiles, int kHeadDim>
RowsKernel<T> ready_kernel() {
  const auto kernel = fused_rows_kernel<T, kTiles, kHeadDim>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_capacity<RowsShared>());
  return more_shared == cudaSuccess ? kernel : nullptr;
}

template <typename T, int kHeadDim>
RowsKernel<T> kernel_of_tiles(int tiles) {
  switch (tiles) {
    case 1:
      return ready_kernel<T, 1, kHeadDim>();
    case 2:
      return ready_kernel<T, 2, kHeadDim>();
    case 3:
      return ready_kernel<T, 3, kHeadDim>();
    case 4:
      return ready_kernel<T, 4, kHeadDim>();
    default:
      return nullptr;
  }
}

template <typename T>
RowsKernel<T> kernel_of(const RowsSizes& sizes, int tiles) {
  switch (sizes.head_dim()) {
    case 8:
      return kernel_of_tiles<T, 8>(tiles);
    case 16:
      return kernel_of_tiles<T, 16>(tiles);
    case 32:
      return kernel_of_tiles<T, 32>(tiles);
    case 64:
      return kernel_of_tiles<T, 64>(tiles);
    default:
      return nullptr;
  }
}

}  // namespace

int most_rows_tiles(const RowsSizes& sizes) {
  // Weights are read by every block: of older chips, whose second-level caches are smaller, nothing
  // is known.
  if (why_no_rows(sizes) != nullptr || !device_has_clusters()) {
    return 0;
  }
  int tiles = kMostRowsTiles;
  while (tiles > 0 && RowsLayout::of(sizes, tiles).bytes > shared_capacity<RowsShared>()) {
    --tiles;
  }
  return tiles;
}

template <typename T>
cudaError_t pack_rows(const RowsSizes& sizes, const T* weight, int layer, RowsWeight which,
                      uint4* stream_of_weights, cudaStream_t stream) {
  const RowsProduct product = sizes.product(which);
  const dim3 grid(static_cast<unsigned>(product.steps()), static_cast<unsigned>(product.tasks()));
  pack_rows_kernel<<<grid, kStepVectors, 0, stream>>>(RowsStream{sizes}, weight, layer, which,
                                                      stream_of_weights);
  return cudaGetLastError();
}

template <typename T>
cudaError_t fused_rows(const FusedRowsArgs<T>& args, const RowsInputs& inputs, int tiles,
                       cudaStream_t stream) {
  const RowsKernel<T> kernel = kernel_of<T>(args.sizes, tiles);
  if (kernel == nullptr) {
    return cudaErrorInvalidValue;
  }
  if (inputs.unit_count == 0) {
    return cudaSuccess;
  }
  const RowsKernelArgs<T> of_kernel{args, inputs, RowsLayout::of(args.sizes, tiles)};
  const ClusterConfig of_run(inputs.unit_count * kRowsBlocks, kRowsThreads, kRowsBlocks,
                             of_kernel.layout.bytes, stream);
  return cudaLaunchKernelEx(&of_run.config, kernel, of_kernel);
}

template cudaError_t pack_rows(const RowsSizes&, const __half*, int, RowsWeight, uint4*,
                               cudaStream_t);
template cudaError_t pack_rows(const RowsSizes&, const __nv_bfloat16*, int, RowsWeight, uint4*,
                               cudaStream_t);
template cudaError_t fused_rows(const FusedRowsArgs<__half>&, const RowsInputs&, int, cudaStream_t);
template cudaError_t fused_rows(const FusedRowsArgs<__nv_bfloat16>&, const RowsInputs&, int,
                                cudaStream_t);

}  // namespace kvcache::kernels
