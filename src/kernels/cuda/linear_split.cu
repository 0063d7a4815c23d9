// Products of float32 with weights on tensor cores, for two tokens and more.
//
// An element is the sum of two numbers with 11 bits (TF32), and a product three of theirs: what
// the fourth would add is below 2⁻²² of it (Markidis et al. 2018, arXiv:1803.04014; Ootomo and
// Yokota 2022, arXiv:2203.03341). The tensor cores cut their sums off, so they add up 16 inputs
// only; float32 additions, which round, do the rest.
//
// A warp has 32 columns, some tokens and a share of the inputs. Weights and tokens come from
// memory as the instruction's lanes hold them: which of 16 inputs is which of the instruction's is
// anybody's choice, if it is the same for both. A block's warps share its inputs out, and so do
// the blocks of a cluster; each finishes some of the sums.
#include <algorithm>
#include <bit>

#include "base/rounding.hpp"
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/split_product.cuh"
#include "kernels/cuda/tile_sums.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

using namespace split_product;

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;

struct Product {
  const float* x;         // [tokens, inputs]
  const float* weight;    // in panels or rows
  const float* bias;      // [outputs], or null
  const float* residual;  // like out, or null
  float* out;             // [tokens, outputs]
  int tokens;
  int inputs;
  int outputs;
  int parts_log2;  // blocks of a cluster
  bool gelu;
};

/// A block's sums in shared memory.
template <int kTiles>
struct Layout {
  static constexpr int kTokens = kTiles * kTileTokens;
  static constexpr int kStride = kWarpColumns + 4;  // of a token, without bank conflicts
  static constexpr int kShare = kTokens * kStride;  // a warp's
  static constexpr std::size_t kSums = sizeof(float) * kWarps * kShare;
  static constexpr int kFours = kWarpColumns / 4;  // sums that a thread finishes together
  static constexpr std::size_t bytes(int parts) {
    return kSums + (parts > 1 ? sizeof(float4) * kTokens * kFours : 0);
  }
};

/// The activation, and what is added before and behind it, of four neighbouring outputs.
template <class Weights>
__device__ void finish(const Product& product, int token, int column, float4 sum) {
  const std::int64_t at = std::int64_t{token} * product.outputs + column;
  if constexpr (Weights::kIsHead) {  // rows of any length
    const float values[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + i < product.outputs) {
        product.out[at + i] = values[i];
      }
    }
  } else {
    if (column >= product.outputs) {
      return;
    }
    const auto four = [](const float* from) { return *reinterpret_cast<const float4*>(from); };
    if (product.bias != nullptr) {
      sum = sum + four(product.bias + column);
    }
    if (product.gelu) {
      sum = {gelu_tanh(sum.x), gelu_tanh(sum.y), gelu_tanh(sum.z), gelu_tanh(sum.w)};
    }
    if (product.residual != nullptr) {
      sum = sum + four(product.residual + at);
    }
    *reinterpret_cast<float4*>(product.out + at) = sum;
  }
}

/// Grid: 32 columns each, tiles of tokens, parts of the inputs.
template <class Weights, int kTiles>
__global__ void __launch_bounds__(kThreads, 2) linear_split_kernel(const Product product) {
  using Block = Layout<kTiles>;
  constexpr int kAtOnce = 4 / kTiles;  // chunks on their way: what registers have room for
  extern __shared__ __align__(16) float sums_of_block[];
  __shared__ CopyBarrier sent;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int share = __shfl_sync(kAllLanes, thread / 32, 0);
  const int first_column = static_cast<int>(blockIdx.x) * kWarpColumns;
  const int first_token = static_cast<int>(blockIdx.y) * Block::kTokens;
  const int part = static_cast<int>(blockIdx.z);
  const int items = min(product.tokens - first_token, Block::kTokens) * Block::kFours;

  let_next_kernel_start();
  const GatheredSums<1> gathered(sent, items, product.parts_log2);
  // The share's chunks are `step` apart.
  const int step = kWarps << product.parts_log2;
  const int first = part * kWarps + share;
  const int count = divide_up(max(product.inputs / kChunk - first, 0), step);
  const Weights weights(product.weight, product.inputs, product.outputs, first_column, lane);
  Chunk<kTiles> ring[kAtOnce];
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    if (i < count) {
      weights.load(first + i * step, ring[i].weights);
    }
  }
  wait_for_previous_kernel();
  const Tokens<kTiles> tokens(product.x, product.inputs, product.tokens, first_token, lane);
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    if (i < count) {
      tokens.load(first + i * step, ring[i].tokens);
    }
  }
  Sums<kTiles> sums;
#pragma unroll 1
  for (int done = 0; done < count; done += kAtOnce) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (done + i < count) {
        sums.template add<Weights>(ring[i]);
        if (const int next = done + i + kAtOnce; next < count) {
          weights.load(first + next * step, ring[i].weights);
          tokens.load(first + next * step, ring[i].tokens);
        }
      }
    }
  }
  sums.store(sums_of_block + share * Block::kShare, Block::kStride, lane);
  if (gathered.are_parts()) {
    wait_for_cluster();
  }
  __syncthreads();

  const auto sum_of_block = [&](int item) {
    const float* at =
        sums_of_block + item / Block::kFours * Block::kStride + item % Block::kFours * 4;
    float4 sum = *reinterpret_cast<const float4*>(at);
#pragma unroll
    for (int i = 1; i < kWarps; ++i) {
      sum = sum + *reinterpret_cast<const float4*>(at + i * Block::kShare);
    }
    return sum;
  };
  const auto finish_item = [&](int item, float4 sum) {
    finish<Weights>(product, first_token + item / Block::kFours,
                    first_column + item % Block::kFours * 4, sum);
  };
  if (!gathered.are_parts()) {
    for (int item = thread; item < items; item += kThreads) {
      finish_item(item, sum_of_block(item));
    }
    return;
  }
  auto* const memory = reinterpret_cast<float4*>(sums_of_block + Block::kSums / sizeof(float));
  for (int item = thread; item < items; item += kThreads) {
    gathered.send(memory, item, 0, sum_of_block(item));
  }
  gathered.wait();
  for (int own = thread; own < gathered.own_items(); own += kThreads) {
    float4 sum[1];
    gathered.add_up(memory, own, sum);
    finish_item(gathered.item(own), sum[0]);
  }
}

template <class Weights, int kTiles>
cudaError_t launch_tiles(Product product, int multiprocessors, cudaStream_t stream) {
  using Block = Layout<kTiles>;
  const int columns = divide_up(product.outputs, kWarpColumns);
  const int tiles = divide_up(product.tokens, Block::kTokens);
  // Parts while there are few blocks, if a warp's share is a chunk at least.
  int parts = 1;
  while (device_has_clusters() && parts < kMaxCluster &&
         2 * parts * columns * tiles <= multiprocessors + multiprocessors / 2 &&
         product.inputs >= 2 * parts * kWarps * kChunk) {
    parts *= 2;
  }
  product.parts_log2 = std::countr_zero(static_cast<unsigned>(parts));
  const dim3 grid(static_cast<unsigned>(columns), static_cast<unsigned>(tiles),
                  static_cast<unsigned>(parts));
  return launch(linear_split_kernel<Weights, kTiles>, grid, kThreads, Block::bytes(parts), stream,
                product);
}

template <class Weights>
cudaError_t launch_split(const Product& product, int multiprocessors, cudaStream_t stream) {
  const auto launch_as = product.tokens <= kTileTokens       ? launch_tiles<Weights, 1>
                         : product.tokens <= 2 * kTileTokens ? launch_tiles<Weights, 2>
                                                             : launch_tiles<Weights, 4>;
  return launch_as(product, multiprocessors, stream);
}

bool fits(std::int64_t tokens, std::int64_t inputs, std::int64_t outputs) {
  constexpr std::int64_t kMost = (std::int64_t{1} << 31) - 1;  // indices of x are of 32 bits
  constexpr std::int64_t kMostTiles = 65535;
  return tokens > 0 && inputs > 0 && inputs % kChunk == 0 && outputs <= kMost / 2 &&
         tokens <= kMost / inputs && tokens <= kMostTiles * 4 * kTileTokens;
}

}  // namespace

bool linear_split_fits(std::int64_t tokens, std::int64_t inputs, std::int64_t outputs) {
  return outputs % 4 == 0 && fits(tokens, inputs, outputs);
}

cudaError_t linear_split(const LinearCudaArgs<float>& args, int multiprocessors,
                         cudaStream_t stream) {
  const Product product{args.x,
                        args.weight,
                        args.bias,
                        args.residual,
                        args.out,
                        static_cast<int>(args.tokens),
                        static_cast<int>(args.inputs),
                        static_cast<int>(args.outputs),
                        0,
                        args.gelu};
  return launch_split<PanelWeights>(product, multiprocessors, stream);
}

bool head_split_fits(std::int64_t tokens, std::int64_t inputs, std::int64_t outputs) {
  return fits(tokens, inputs, outputs);
}

cudaError_t head_split(const HeadCudaArgs<float>& args, int multiprocessors, cudaStream_t stream) {
  const Product product{args.x,
                        args.weight,
                        nullptr,
                        nullptr,
                        args.out,
                        static_cast<int>(args.tokens),
                        static_cast<int>(args.inputs),
                        static_cast<int>(args.outputs),
                        0,
                        false};
  return launch_split<RowWeights>(product, multiprocessors, stream);
}

}  // namespace kvcache::kernels
