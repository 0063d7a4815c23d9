// norm(x) · weight + bias, its activation or gate and the residual, of a few columns (tokens, or a
// token's levels), for weights of 8 and 4 bits.
//
// The eight columns of the tensor cores' integer product are the same two over and over: so each of
// the four lanes that have the same outputs takes the sums of another one of them, and what is done
// to a block's sums is done once an output. A lane's weights lie in registers, several steps of
// them on their way before the kernel before has ended. What else there is to know stands in
// quantized_linear.cu.
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/quantized_few_finish.cuh"
#include "kernels/cuda/quantized_few_rounding.cuh"
#include "kernels/cuda/quantized_few_sums.cuh"
#include "kernels/cuda/quantized_linear_few.hpp"

namespace kvcache::kernels {
namespace {

using namespace quantized_few;

constexpr int kMostColumns = 4;

/// Grid: clusters, 1, parts of the inputs.
template <class K, int kColumnCount, int kLevels, int kMatrices, Blocks kBlocks>
__global__ void __launch_bounds__(kThreads, 2) quantized_few_kernel(ProductArgs args) {
  using Layout = FewLayout<kColumnCount, kMatrices>;
  constexpr int kAtOnce = kDepth<K, kMatrices>;
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ CopyBarrier sent;
  const int warp = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int half = warp % kHalves;
  const int share = warp / kHalves;
  const int tokens = kColumnCount / kLevels == 1 ? 1 : args.tokens;

  let_next_kernel_start();
  if (args.parts_log2 > 0) {
    if (threadIdx.x == 0) {
      sent.initialize();
      sent.expect(static_cast<unsigned>(tokens) * Layout::kGathered * sizeof(float));
    }
    arrive_at_cluster_early();  // all its blocks run before any sends to another
  }
  const Part part(args.units, static_cast<int>(blockIdx.z), args.parts_log2);
  const Part own(part.count, share, kSharesLog2);
  Source<K, kMatrices, kBlocks> source(args, half, part.first + own.first, own.count, lane);
  Step<K, kMatrices> ring[kAtOnce];
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    source.load(i, ring[i]);
  }
  source.advance();
  Rounding<Layout, kLevels, kBlocks> round(args, part.first * args.unit_inputs,
                                           part.count * args.unit_inputs);
  const Layout layout(args.inputs_of_part, args.block_size);
  Finish<Layout, kLevels, kMatrices> finish(args, layout, warp, shared, sent);

  wait_for_previous_kernel();
  if (warp < tokens) {
    finish.load(static_cast<int>(blockIdx.x));
  }
  round(layout, shared);
  if (args.parts_log2 > 0) {
    wait_for_cluster();
  }
  __syncthreads();

  float* const sums_at = reinterpret_cast<float*>(shared + layout.sums_at()) +
                         share * Layout::kShareSums + half * kOutputsOfWarp + lane;
  int number = 0;
#pragma unroll 1
  for (auto panel = static_cast<int>(blockIdx.x); panel < args.panels;
       panel += static_cast<int>(gridDim.x), ++number) {
    Sums<K, kColumnCount, kMatrices, kBlocks> sums(args, layout, shared, own.first, lane,
                                                   source.unit_log2());
#pragma unroll 1
    for (int left = source.steps(); left > 0; left -= kAtOnce) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (i < left) {
          sums.add(ring[i]);
        }
        source.load(i, ring[i]);
      }
      source.advance();
    }
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int column = 0; column < kColumnCount; ++column) {
        sums_at[number % 2 * Layout::kTurnSums + (m * kColumnCount + column) * kColumns] =
            sums.sum(m, column);
      }
    }
    __syncthreads();  // also: nobody reads the sums of the panel before any more
    if (warp < tokens) {
      finish(panel, number);
      finish.load(panel + static_cast<int>(gridDim.x));
    }
  }
}

/// So many thread blocks a multiprocessor: one leaves room for the next kernel's weights, and two
/// have more on their way where that is what counts.
template <class K>
int slots_of(const QuantizedLinearCudaArgs& args, int multiprocessors) {
  constexpr std::int64_t kMuch = 11;  // words of 16 bytes of a lane
  const std::int64_t words = args.weight.panels() * kHalves *
                             (args.weight.padded_inputs() / kStepInputs) * K::kRows /
                             (std::int64_t{kWarps} * multiprocessors);
  return words >= kMuch ? 2 * multiprocessors : multiprocessors;
}

template <class K, int kColumnCount, int kLevels, int kMatrices, Blocks kBlocks>
cudaError_t launch_few(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                       int multiprocessors, cudaStream_t stream) {
  constexpr int kMostPartsLog2 = 2;  // there is not often room for larger clusters
  const auto kernel = quantized_few_kernel<K, kColumnCount, kLevels, kMatrices, kBlocks>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  ProductArgs product = product_args(args, columns);
  const int slots = slots_of<K>(args, multiprocessors);
  product.parts_log2 = choose_parts_log2(product.panels, product.units, slots, kMostPartsLog2);
  const int parts = 1 << product.parts_log2;
  const int of_cluster = divide_up(product.panels, slots / parts);  // all as busy
  product.inputs_of_part = divide_up(product.units, parts) * product.unit_inputs;
  const FewLayout<kColumnCount, kMatrices> layout(product.inputs_of_part, product.block_size);
  const auto shared_bytes = static_cast<std::size_t>(layout.bytes());
  if (shared_bytes > most_shared_bytes()) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(static_cast<unsigned>(divide_up(product.panels, of_cluster)), 1,
                  static_cast<unsigned>(parts));
  return launch(kernel, grid, kThreads, shared_bytes, stream, product);
}

template <class K, int kColumnCount, int kLevels>
cudaError_t launch_blocks(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                          int multiprocessors, cudaStream_t stream) {
  const bool steps = args.weight.block_size == kStepInputs;
  const auto launch_as =
      args.weight.matrices == 2
          ? (steps ? launch_few<K, kColumnCount, kLevels, 2, Blocks::steps>
                   : launch_few<K, kColumnCount, kLevels, 2, Blocks::several_steps>)
          : (steps ? launch_few<K, kColumnCount, kLevels, 1, Blocks::steps>
                   : launch_few<K, kColumnCount, kLevels, 1, Blocks::several_steps>);
  return launch_as(args, columns, multiprocessors, stream);
}

template <class K>
cudaError_t launch_columns(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                           int multiprocessors, cudaStream_t stream) {
  const auto launch_as = columns.levels > 1 ? launch_blocks<K, kMostColumns, kMaxLevels>
                         : args.tokens == 1 ? launch_blocks<K, 1, 1>
                         : args.tokens == 2 ? launch_blocks<K, 2, 1>
                                            : launch_blocks<K, kMostColumns, 1>;
  return launch_as(args, columns, multiprocessors, stream);
}

}  // namespace

bool quantized_few_fit(const QuantizedLinearCudaArgs& args) {
  return args.tokens * levels_of(args.accuracy) <= kMostColumns &&
         args.weight.block_size >= kStepInputs && loads_vectors(args);
}

cudaError_t quantized_linear_few(const QuantizedLinearCudaArgs& args,
                                 const QuantizedColumns& columns, int multiprocessors,
                                 cudaStream_t stream) {
  return with_kind(args.weight, [&](auto kind) {
    return launch_columns<decltype(kind)>(args, columns, multiprocessors, stream);
  });
}

}  // namespace kvcache::kernels
