// One kernel for x · weight + bias, its activation or gate and the residual, by the matrix
// instructions of sm_90a: from a few tokens to prompts.
//
// A block has a panel of 64 columns (a gate two), 64 tokens or 128, and a part of the inputs; the
// blocks of a cluster have all parts. One warp has the copy engine bring pieces of the inputs into
// a ring, the weights before the tokens are known; a warpgroup multiplies 64 tokens. Of parts, the
// sums of a token go to the block of the cluster that finishes it: copied, and counted where they
// arrive.
#include <algorithm>
#include <bit>
#include <type_traits>

#include "kernels/cuda/linear_warpgroup_finish.cuh"

namespace kvcache::kernels {
namespace {

using namespace linear_warpgroup;

/// Grid: panels, tiles of tokens, parts of the inputs.
template <typename T, After kAfter, int kGroups, bool kTogether>
__global__ void __launch_bounds__(kGroups* kWarpgroup + 32)
    linear_by_warpgroup_kernel(const __grid_constant__ Product product,
                               const __grid_constant__ LinearCudaArgs<T> args) {
  using Layout = SharedLayout<kAfter, kGroups>;
  extern __shared__ std::byte unaligned[];
  __shared__ CopyBarrier full[kMostStages];
  __shared__ CopyBarrier empty[kMostStages];
  __shared__ CopyBarrier sums_there;
  const auto unaligned_at = static_cast<unsigned>(__cvta_generic_to_shared(unaligned));
  const unsigned shared_at = round_up(unaligned_at, Layout::kAlignment);
  std::byte* const shared = unaligned + (shared_at - unaligned_at);
  // The same for all threads of a warp, which the compiler is to know.
  const int warp = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / 32, 0);
  constexpr int kProducer = kGroups * kWarpgroup / 32;
  const Tile<Layout> tile(product);

  let_next_kernel_start();
  if (threadIdx.x == kProducer * 32) {
    expect_map(product.weight);
    expect_map(product.x);
#pragma unroll 1
    for (int stage = 0; stage < product.stages; ++stage) {
      full[stage].initialize();
      empty[stage].initialize(kProducer);
    }
    if (kTogether) {
      sums_there.initialize();
      sums_there.expect(static_cast<unsigned>(tile.tokens_of(tile.part) *
                                              static_cast<int>(gridDim.z - 1) * Layout::kSumStride *
                                              sizeof(float)));
    }
  }
  __syncthreads();
  if (kTogether) {
    arrive_at_cluster_early();  // all its blocks run before any sends to another
  }
  if (warp == kProducer) {
    if (is_elected()) {
      bring(product, tile, shared, full, empty);
    }
    __syncwarp();
    if (kTogether) {
      wait_for_cluster();
    }
    return;
  }
  std::conditional_t<kTogether, FinishTogether<T, kAfter, Layout>, Finish<T, kAfter, Layout>>
      finish(product, args, tile);
  if (kTogether) {
    wait_for_cluster();
  }
  wait_for_previous_kernel();
  finish.ask_for_residual();
  WarpgroupSums sums[Layout::kMatrices];
  multiply<T, Layout>(sums, product, tile.pieces, shared_at, warp / (kWarpgroup / 32), full, empty);
  if constexpr (kTogether) {
    wait_for_multipliers<Layout>();  // all have read the stages
    finish(sums, reinterpret_cast<float*>(shared),
           reinterpret_cast<float*>(shared + product.stages * Layout::kStageBytes), sums_there);
  } else {
    finish(sums);
  }
}

template <typename T>
constexpr CUtensorMapDataType kMapType =
    std::is_same_v<T, __half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;

/// As many as have all of a part on its way at once; fewer where several blocks must share a
/// multiprocessor.
template <typename Layout, typename T>
int stages_of(const LinearCudaArgs<T>& args, const dim3& grid, int multiprocessors) {
  constexpr std::size_t kEnough = 4;
  const std::size_t blocks = std::size_t{grid.x} * grid.y * grid.z;
  const auto pieces = divide_up(args.inputs, std::int64_t{Layout::kPiece} * grid.z);
  const auto wanted = static_cast<std::size_t>(
      std::clamp(pieces, std::int64_t{Layout::kFewestStages}, std::int64_t{kMostStages}));
  const auto that_fit = [&](std::size_t bytes) {
    const std::size_t fixed = Layout::bytes(0, static_cast<int>(grid.z));
    return bytes > fixed ? (bytes - fixed) / Layout::kStageBytes : 0;
  };
  const std::size_t most = std::min(wanted, that_fit(most_shared_bytes()));
  const auto per_multiprocessor = divide_up(blocks, static_cast<std::size_t>(multiprocessors));
  if (per_multiprocessor > kEnough) {  // one loads while another computes
    return static_cast<int>(std::min(most, that_fit(most_shared_bytes() / 2)));
  }
  const std::size_t shared = std::min(most, that_fit(most_shared_bytes() / per_multiprocessor));
  return static_cast<int>(shared >= std::min(kEnough, wanted) ? shared : most);
}

template <typename T, After kAfter, int kGroups, bool kTogether>
cudaError_t launch_warpgroups(const LinearCudaArgs<T>& args, Activation activation, int parts,
                              int multiprocessors, cudaStream_t stream) {
  using Layout = SharedLayout<kAfter, kGroups>;
  const auto kernel = linear_by_warpgroup_kernel<T, kAfter, kGroups, kTogether>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const std::int64_t panels = divide_up(args.outputs, std::int64_t{kWarpgroupColumns});
  const dim3 grid(static_cast<unsigned>(panels),
                  static_cast<unsigned>(divide_up(args.tokens, std::int64_t{Layout::kTokens})),
                  static_cast<unsigned>(parts));
  const int stages = stages_of<Layout>(args, grid, multiprocessors);
  // Of a few tokens no more than they are; what else is in their place makes sums that nobody
  // reads.
  const auto token_rows = static_cast<unsigned>(
      std::min(round_up(args.tokens, std::int64_t{8}), std::int64_t{Layout::kTokens}));
  Product product{.tokens = static_cast<int>(args.tokens),
                  .inputs = static_cast<int>(args.inputs),
                  .outputs = static_cast<int>(args.outputs),
                  .parts_shift = std::countr_zero(static_cast<unsigned>(parts)),
                  .stages = stages,
                  .token_bytes = token_rows * kSwizzledBytes,
                  .gate = Gate(activation)};
  if (const cudaError_t status = make_tensor_map(args.x,
                                                 {.type = kMapType<T>,
                                                  .sizes = {args.tokens, args.inputs / kRowInputs},
                                                  .strides = {args.inputs, kRowInputs},
                                                  .tile = {token_rows, Layout::kRows}},
                                                 product.x);
      status != cudaSuccess) {
    return status;
  }
  const TensorShape rows{.type = kMapType<T>,
                         .sizes = {args.outputs, args.inputs / kRowInputs},
                         .strides = {args.inputs, kRowInputs},
                         .tile = {kWarpgroupColumns, Layout::kRows}};
  const TensorShape panels_of_columns{
      .type = kMapType<T>,
      .sizes = {args.inputs, panels * Layout::kMatrices},
      .strides = {kWarpgroupColumns, kWarpgroupColumns * args.inputs},
      .tile = {Layout::kPiece, Layout::kMatrices}};
  if (const cudaError_t status = make_tensor_map(
          args.weight, Layout::kWeightHasInputs ? rows : panels_of_columns, product.weight);
      status != cudaSuccess) {
    return status;
  }
  return launch(kernel, grid, kGroups * kWarpgroup + 32, Layout::bytes(stages, parts), stream,
                product, args);
}

template <typename T, After kAfter, int kGroups, bool kTogether>
cudaError_t launch_if_compiled(const LinearCudaArgs<T>& args, Activation activation, int parts,
                               int multiprocessors, cudaStream_t stream) {
  if constexpr (kBuiltForSm90a) {
    return launch_warpgroups<T, kAfter, kGroups, kTogether>(args, activation, parts,
                                                            multiprocessors, stream);
  } else {
    return cudaErrorNoKernelImageForDevice;
  }
}

/// How a product is divided: 64 tokens of a tile or twice as many, blocks of a cluster.
struct Division {
  int groups;
  int parts;
};

/// Large tiles where they are enough to fill the device: each reads the weights. Parts where a
/// block would have a long way through the inputs, and while most of the device has room for the
/// next kernel's weights beside.
template <typename T>
Division divide(const LinearCudaArgs<T>& args) {
  constexpr std::int64_t kFewTiles = 70;
  constexpr std::int64_t kBlocks = 100;
  constexpr std::int64_t kLongWay = 1024;
  const std::int64_t panels = divide_up(args.outputs, std::int64_t{kWarpgroupColumns});
  const auto tiles = [&](std::int64_t groups) {
    return panels * divide_up(args.tokens, groups * kWarpgroupRows);
  };
  const int groups = args.tokens > kWarpgroupRows && tiles(2) >= kFewTiles ? 2 : 1;
  int parts = 1;
  while (parts < kMaxCluster && 2 * parts * tiles(groups) <= kBlocks &&
         args.inputs / parts > kLongWay) {
    parts *= 2;
  }
  return {groups, parts};
}

template <typename T, After kAfter>
cudaError_t launch_divided(const LinearCudaArgs<T>& args, Activation activation,
                           int multiprocessors, cudaStream_t stream) {
  const auto [groups, parts] = divide(args);
  const auto launch_as = groups == 1 ? (parts == 1 ? launch_if_compiled<T, kAfter, 1, false>
                                                   : launch_if_compiled<T, kAfter, 1, true>)
                                     : (parts == 1 ? launch_if_compiled<T, kAfter, 2, false>
                                                   : launch_if_compiled<T, kAfter, 2, true>);
  return launch_as(args, activation, parts, multiprocessors, stream);
}

bool fits(std::int64_t tokens, std::int64_t inputs, std::int64_t outputs) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;  // a grid's indices are of 32 bits
  constexpr std::int64_t kMostTiles = 65535;
  return tokens > 0 && tokens <= kMostTiles * kWarpgroupRows && inputs % kRowInputs == 0 &&
         inputs <= kMost && outputs <= kMost && kBuiltForSm90a && device_runs_sm_90a();
}

}  // namespace

template <typename T>
bool linear_warpgroups_fit(const LinearCudaArgs<T>& args) {
  return args.outputs % kVector == 0 && fits(args.tokens, args.inputs, args.outputs);
}

template <typename T>
cudaError_t linear_by_warpgroup(const LinearCudaArgs<T>& args, int multiprocessors,
                                cudaStream_t stream) {
  return args.gelu
             ? launch_divided<T, After::activation>(args, Activation::gelu_tanh, multiprocessors,
                                                    stream)
             : launch_divided<T, After::nothing>(args, Activation::none, multiprocessors, stream);
}

template <typename T>
bool linear_warpgroups_fit(const GatedLinearCudaArgs<T>& args) {
  return (args.activation == Activation::silu || args.activation == Activation::gelu_tanh) &&
         linear_warpgroups_fit(args.product);
}

template <typename T>
cudaError_t linear_by_warpgroup(const GatedLinearCudaArgs<T>& args, int multiprocessors,
                                cudaStream_t stream) {
  return launch_divided<T, After::gate>(args.product, args.activation, multiprocessors, stream);
}

template <typename T>
bool head_warpgroups_fit(const HeadCudaArgs<T>& args) {
  return fits(args.tokens, args.inputs, args.outputs);
}

template <typename T>
cudaError_t head_by_warpgroup(const HeadCudaArgs<T>& args, int multiprocessors,
                              cudaStream_t stream) {
  LinearCudaArgs<T> product;
  product.x = args.x;
  product.weight = args.weight;
  product.out = args.out;
  product.tokens = args.tokens;
  product.inputs = args.inputs;
  product.outputs = args.outputs;
  const auto launch_as = args.tokens > kWarpgroupRows
                             ? launch_if_compiled<T, After::logits, 2, false>
                             : launch_if_compiled<T, After::logits, 1, false>;
  return launch_as(product, Activation::none, 1, multiprocessors, stream);
}

template bool linear_warpgroups_fit(const LinearCudaArgs<__half>&);
template bool linear_warpgroups_fit(const LinearCudaArgs<__nv_bfloat16>&);
template bool linear_warpgroups_fit(const GatedLinearCudaArgs<__half>&);
template bool linear_warpgroups_fit(const GatedLinearCudaArgs<__nv_bfloat16>&);
template cudaError_t linear_by_warpgroup(const LinearCudaArgs<__half>&, int, cudaStream_t);
template cudaError_t linear_by_warpgroup(const LinearCudaArgs<__nv_bfloat16>&, int, cudaStream_t);
template cudaError_t linear_by_warpgroup(const GatedLinearCudaArgs<__half>&, int, cudaStream_t);
template cudaError_t linear_by_warpgroup(const GatedLinearCudaArgs<__nv_bfloat16>&, int,
                                         cudaStream_t);
template bool head_warpgroups_fit(const HeadCudaArgs<__half>&);
template bool head_warpgroups_fit(const HeadCudaArgs<__nv_bfloat16>&);
template cudaError_t head_by_warpgroup(const HeadCudaArgs<__half>&, int, cudaStream_t);
template cudaError_t head_by_warpgroup(const HeadCudaArgs<__nv_bfloat16>&, int, cudaStream_t);

}  // namespace kvcache::kernels
