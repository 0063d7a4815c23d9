// What a block of a fused decoder has in shared memory, and its way to weights and inputs.
#pragma once

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/exchange.cuh"
#include "kernels/cuda/fused_decoder.hpp"
#include "kernels/cuda/fused_products.cuh"

namespace kvcache::kernels {

/// Strips whose sums a block ends together. Of several tokens, a warp ends each token's.
template <int kTokens>
constexpr int kGroupStripsOf = kTokens == 1 ? kGroupStrips : 32 / (kStripColumns / 2);

/// A strip's sums of the warps, and a gap so that neighbouring strips lie in other banks.
template <int kTokens>
constexpr int kSumsOfStripOf = kDecoderWarps* kTokens*(kStripColumns / 2) + 4;
constexpr int kSumsOfStrip = kSumsOfStripOf<1>;
constexpr int kMaxHeadDim = 128;
constexpr int kMaxHeadPairs = kMaxHeadDim / 2;

/// Pieces of inputs that a warp's lanes fill at once.
constexpr int kRoundPieces = 8;

/// What a launch works out once for all blocks.
template <typename Args>
struct DecoderKernelArgs {
  Args step;
  DecoderShared layout;
  DecoderExchange exchange;
  int strips[kLayerProducts + 1];  // of each product
  int pieces[kLayerProducts + 1];
  int together[kLayerProducts + 1] = {1, 1, 1, 1, 1};         // pieces that no two warps share
  int strips_together[kLayerProducts + 1] = {1, 1, 1, 1, 1};  // that no two blocks share
  int group;                                                  // query heads of a head of keys

  DecoderKernelArgs(const Args& args, const DecoderShared& shared, const DecoderExchange& of_step)
      : step(args), layout(shared), exchange(of_step), group(args.sizes.group()) {
    for (int product = 0; product <= kLayerProducts; ++product) {
      strips[product] = args.sizes.strips(static_cast<DecoderProduct>(product));
      pieces[product] = args.sizes.pieces(static_cast<DecoderProduct>(product));
    }
  }
};

/// A block's share of the work, by products: divisions, once a step.
struct DecoderWork {
  Share strips[kLayerProducts + 1];
  Share slices[kLayerProducts + 1][kDecoderWarps];  // of inputs, in pieces

  template <typename Args>
  __device__ void fill(const DecoderKernelArgs<Args>& args) {
    const int number = static_cast<int>(threadIdx.x);
    if (number <= kLayerProducts) {
      strips[number] = shared_out(args.strips[number], args.strips_together[number],
                                  static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    }
    if (number < (kLayerProducts + 1) * kDecoderWarps) {
      const int product = number / kDecoderWarps;
      const int warp = number % kDecoderWarps;
      slices[product][warp] =
          shared_out(args.pieces[product], args.together[product], warp, kDecoderWarps);
    }
  }
};

/// What a block of any decoder has in static shared memory.
template <int kTokens>
struct DecoderStaticOf {
  DecoderWork work;
  CopyBarrier arrivals[kDecoderWarps][kMaxChunks];                    // of weights
  float2 sums[2][kGroupStripsOf<kTokens> * kSumsOfStripOf<kTokens>];  // the warps', in turns
  float squares[2][kTokens][kDecoderWarps];                           // of the inputs of norms
  float input_sums[2][kTokens][kDecoderWarps];                        // of LayerNorm
  float cos[kTokens][kMaxHeadPairs];                                  // of tokens' positions
  float sin[kTokens][kMaxHeadPairs];
  float2 softmaxes[kDecoderWarps][kMaxGroup];
  TopLogit bests[kDecoderWarps];
};
using DecoderStatic = DecoderStaticOf<1>;

/// Of the warps that compute: a block may have others, which fetch.
__device__ inline void sync_decoder_warps() {
  asm volatile("barrier.sync 1, %0;" ::"n"(kDecoderThreads) : "memory");
}

constexpr unsigned kCyclesBetweenPolls = 30;

/// Waits for words (exchange.cuh), each warp for its own.
template <int kWords, typename Poll>
__device__ Arriving<kWords> receive_paced(const Poll& poll) {
  Arriving<kWords> arriving;
  poll(arriving);
  while (!__all_sync(kAllLanes, arriving.are_there())) {
    pause(kCyclesBetweenPolls);
    poll(arriving);
  }
  return arriving;
}

/// Calls work(t) for each token of a step, t being known to the compiler.
template <int kTokens, typename Work>
__device__ void for_tokens(const Work& work) {
  work(std::integral_constant<int, 0>{});
  if constexpr (kTokens > 1) {
    work(std::integral_constant<int, 1>{});
  }
  if constexpr (kTokens > 2) {
    static_assert(kTokens == 4);
    work(std::integral_constant<int, 2>{});
    work(std::integral_constant<int, 3>{});
  }
}

/// What is the same for every token of a pair of columns: what a product's sums have added, and
/// what they count a mean of their inputs as, which LayerNorm takes away.
struct ColumnPair {
  float2 bias{0.0F, 0.0F};
  float2 mean_weight{0.0F, 0.0F};
};

/// What a norm leaves to do with a product's sums.
struct LeftOfNorm {
  float factor = 1;
  float mean = 0;  // of the inputs, as it counts behind the factor

  [[nodiscard]] __device__ float2 of(float2 sum, const ColumnPair& columns) const {
    return {sum.x * factor + (columns.bias.x - mean * columns.mean_weight.x),
            sum.y * factor + (columns.bias.y - mean * columns.mean_weight.y)};
  }
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

}  // namespace kvcache::kernels
