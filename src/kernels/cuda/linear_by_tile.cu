// One kernel for norm(x) · weight + bias, its activation and the residual, for tiles of up to 64
// tokens, on tensor cores.
//
// A cluster of blocks has a panel of 64 columns and a tile of tokens, each block a part of the
// inputs. The part of the weight is on its way to shared memory before the tokens are known. Every
// block then has its part of all tokens; for the norm, the blocks tell each other the parts'
// moments. The products' sums go to the block that finishes their columns. Both are sent and
// counted where they arrive, so that nobody waits for a barrier of the cluster.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/linear_tile.cuh"

namespace kvcache::kernels {
namespace {

using namespace linear_tile;

/// Grid: panels, tiles of tokens, parts of the inputs.
template <typename T, int kTokens>
__global__ void __launch_bounds__(kThreads) linear_by_tile_kernel(LinearCudaArgs<T> args) {
  using Layout = SharedLayout<T, kTokens>;
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ CopyBarrier moments_there;
  __shared__ CopyBarrier sums_there;
  const int thread = static_cast<int>(threadIdx.x);
  const int parts = static_cast<int>(gridDim.z);
  const int part = static_cast<int>(blockIdx.z);
  const Layout layout{static_cast<int>(args.inputs) / parts, parts};
  T* weights = reinterpret_cast<T*>(shared);
  T* tokens = weights + layout.tokens_at();
  T* norm_weight = weights + layout.norm_at();
  auto* sums = reinterpret_cast<float*>(shared + layout.sums_at());
  auto* moments = reinterpret_cast<float2*>(shared + layout.moments_at());
  const bool norms = args.norm.weight != nullptr;
  const int first_input = part * layout.inputs;

  let_next_kernel_start();
  if (thread == 0) {
    moments_there.initialize();
    moments_there.expect(static_cast<unsigned>(parts * kTokens * sizeof(float2)));
    sums_there.initialize();
    sums_there.expect(
        static_cast<unsigned>(kInputShares<kTokens> * kColumns * kTokens * sizeof(float)));
  }
  __syncthreads();
  arrive_at_cluster();  // all its blocks run before any sends to another
  const T* weight = args.weight + (std::int64_t{blockIdx.x} * args.inputs + first_input) * kColumns;
  constexpr int kVectorsOfRow = kColumns / kVector;
  constexpr int kRows = kThreads / kVectorsOfRow;  // at once
  const int weight_row = thread / kVectorsOfRow;
  const T* from = weight + thread * kVector;
  T* to = weights + weight_row * Layout::kWeightStride + thread % kVectorsOfRow * kVector;
#pragma unroll 4
  for (int i = weight_row; i < layout.inputs; i += kRows) {
    copy_to_shared(to, from);
    from += kRows * kColumns;
    to += kRows * Layout::kWeightStride;
  }
  if (norms) {
    for (int i = thread * kVector; i < layout.inputs; i += kThreads * kVector) {
      copy_to_shared(norm_weight + i, args.norm.weight + first_input + i);
      if (args.norm.bias != nullptr) {
        copy_to_shared(norm_weight + layout.inputs + i, args.norm.bias + first_input + i);
      }
    }
  }
  wait_for_cluster();

  wait_for_previous_kernel();
  const std::int64_t first_token = std::int64_t{blockIdx.y} * kTokens;
  const Share<T, kTokens> share;
  const bool exists = first_token + share.token < args.tokens;
  const T* row = args.x + (exists ? first_token + share.token : 0) * args.inputs;
  T* token = tokens + share.token * layout.token_stride();
  const int own_columns = kColumns / parts;  // a power of two
  const int columns_shift = __ffs(own_columns) - 1;
  if (!norms) {
    share.bring(row + first_input, exists, layout.inputs, token);
  }
  const Results<T, kTokens> results(args, columns_shift, first_token,
                                    std::int64_t{blockIdx.x} * kColumns + part * own_columns);
  if (norms) {
    const NormedShare<T, kTokens> x(share, row + first_input, layout.inputs);
    const float origin = args.norm.is_rms ? 0.0F : to_float(row[0]);
    float2 total = x.moment(origin);
    if (parts > 1) {
      constexpr int kTeam = Share<T, kTokens>::kTeam;
      for (int to = thread % kTeam; to < parts; to += kTeam) {
        send_to_block(moments + part * kTokens + share.token, total, moments_there,
                      static_cast<unsigned>(to));
      }
    }
    wait_for_copies();
    __syncthreads();  // the norm's weights are everybody's
    if (parts > 1) {
      moments_there.wait_for_cluster(0);
      total = {0.0F, 0.0F};
      for (int other = 0; other < parts; ++other) {
        total.x += moments[other * kTokens + share.token].x;
        total.y += moments[other * kTokens + share.token].y;
      }
    }
    const auto count = static_cast<float>(args.inputs);
    // The mean as a difference to the first input.
    const float mean = args.norm.is_rms ? 0.0F : total.x / count;
    const float scale = rsqrtf(total.y / count - mean * mean + args.norm.epsilon);
    x.normalize(origin + mean, scale, norm_weight,
                args.norm.bias != nullptr ? norm_weight + layout.inputs : nullptr, token);
  } else {
    wait_for_copies();
  }
  __syncthreads();

  const int warp = thread / 32;
  const int lane = thread % 32;
  const int columns_at = warp % (kColumns / kColumnsOfWarp) * kColumnsOfWarp;
  const int among_columns = warp / (kColumns / kColumnsOfWarp);
  const int input_share = among_columns % kInputShares<kTokens>;
  const int tokens_at =
      among_columns / kInputShares<kTokens> * WarpProduct<T, kTokens>::kWarpTokens;
  // Sixteens of inputs, the first half to the first.
  const int half = divide_up(layout.inputs / 16, kInputShares<kTokens>) * 16;
  const int begin = input_share * half;
  WarpProduct<T, kTokens> product(weights + begin * Layout::kWeightStride + columns_at,
                                  tokens + tokens_at * layout.token_stride() + begin,
                                  layout.token_stride());
  product.add(min(half, layout.inputs - begin));

  // To the block that finishes the column; its own part may still be at work.
  const int source = part * kInputShares<kTokens> + input_share;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int column = columns_at + lane / 4 + r * 8;
    float* to = sums + (source * own_columns + (column & (own_columns - 1))) * Layout::kSumStride +
                tokens_at + lane % 4 * 2;
#pragma unroll
    for (int eight = 0; eight < WarpProduct<T, kTokens>::kEights; ++eight) {
      const float2 both{product.sums[eight][2 * r], product.sums[eight][2 * r + 1]};
      if (parts > 1) {
        send_to_block(to + eight * 8, both, sums_there,
                      static_cast<unsigned>(column >> columns_shift));
      } else {  // a block alone is no cluster
        *reinterpret_cast<float2*>(to + eight * 8) = both;
      }
    }
  }
  if (parts > 1) {
    sums_there.wait_for_cluster(0);
  } else {
    __syncthreads();
  }
  results.finish(sums, parts * kInputShares<kTokens>);
}

/// How a product is divided: tokens of a tile, blocks of a cluster.
struct Division {
  int tile;
  int parts;
};

/// Inputs of a part that a tile's threads hold while they norm them.
constexpr std::int64_t normed_inputs(int tile) {
  return std::int64_t{kThreads} / tile * kVector * kNormedVectors;
}

/// The smallest tile that has all tokens, or the largest; and as many parts as the inputs divide
/// into, until no thread has more than kMaxResults, the device is full and a multiprocessor has
/// room for several blocks, so that one loads while another computes.
template <typename T>
Division divide(const LinearCudaArgs<T>& args) {
  constexpr std::int64_t kBlocks = 200;
  constexpr std::int64_t kInputsOfPart = 512;
  int most_parts = 1;
  while (most_parts < kMaxCluster && args.inputs % (32 * most_parts) == 0) {
    most_parts *= 2;
  }
  constexpr int kResults = kThreads * kMaxResults;
  int tile = 8;
  const bool norms = args.norm.weight != nullptr;
  const auto threads_hold = [&](int of_tile) {
    return !norms || args.inputs / most_parts <= normed_inputs(of_tile);
  };
  while (tile < kMaxTile && tile < args.tokens && kColumns * 2 * tile <= kResults * most_parts &&
         threads_hold(2 * tile)) {
    tile *= 2;
  }
  const std::int64_t most_inputs =
      norms ? std::min(kInputsOfPart, normed_inputs(tile)) : kInputsOfPart;
  const std::int64_t blocks = divide_up(args.outputs, kColumns) * divide_up(args.tokens, tile);
  int parts = 1;
  while (parts < most_parts &&
         (kColumns * tile > kResults * parts || 2 * parts * blocks <= kBlocks ||
          args.inputs / parts > most_inputs)) {
    parts *= 2;
  }
  return {tile, parts};
}

/// Calls `work` with the tile as a constant.
template <typename Work>
auto with_tile(int tile, const Work& work) {
  switch (tile) {
    case 8:
      return work(std::integral_constant<int, 8>{});
    case 16:
      return work(std::integral_constant<int, 16>{});
    case 32:
      return work(std::integral_constant<int, 32>{});
    default:
      return work(std::integral_constant<int, kMaxTile>{});
  }
}

template <typename T, int kTokens>
cudaError_t launch_tiles(const LinearCudaArgs<T>& args, int parts, cudaStream_t stream) {
  const auto kernel = linear_by_tile_kernel<T, kTokens>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const SharedLayout<T, kTokens> layout{static_cast<int>(args.inputs) / parts, parts};
  const dim3 grid(static_cast<unsigned>(divide_up(args.outputs, kColumns)),
                  static_cast<unsigned>(divide_up(args.tokens, std::int64_t{kTokens})),
                  static_cast<unsigned>(parts));
  return launch(kernel, grid, kThreads, layout.bytes(), stream, args);
}

}  // namespace

template <typename T>
bool linear_tiles_fit(const LinearCudaArgs<T>& args) {
  if (args.inputs % 16 != 0 || !device_has_clusters()) {
    return false;
  }
  const auto [tile, parts] = divide(args);
  const int inputs = static_cast<int>(args.inputs) / parts;
  if (args.norm.weight != nullptr && inputs > normed_inputs(tile)) {
    return false;
  }
  return with_tile(tile, [&](auto tokens) {
           return SharedLayout<T, tokens.value>{inputs, parts}.bytes();
         }) <= most_shared_bytes();
}

template <typename T>
cudaError_t linear_by_tile(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  const auto [tile, parts] = divide(args);
  return with_tile(tile, [&](auto tokens_of_tile) {
    return launch_tiles<T, tokens_of_tile.value>(args, parts, stream);
  });
}

template bool linear_tiles_fit(const LinearCudaArgs<__half>&);
template bool linear_tiles_fit(const LinearCudaArgs<__nv_bfloat16>&);
template cudaError_t linear_by_tile(const LinearCudaArgs<__half>&, cudaStream_t);
template cudaError_t linear_by_tile(const LinearCudaArgs<__nv_bfloat16>&, cudaStream_t);

}  // namespace kvcache::kernels
