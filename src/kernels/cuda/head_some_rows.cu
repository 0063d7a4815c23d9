// Logits of up to 64 tokens on tensor cores.
//
// The head's weight is read once, by blocks that stay: each goes through tiles of 64 outputs in
// pieces of 256 or 128 inputs, of which a ring is always on its way to shared memory. The tokens
// are there all the time.
#include "base/rounding.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kOutputs = 64;  // of a tile
constexpr int kOutputsOfWarp = 16;
constexpr int kLongPiece = 256;  // inputs: fewer barriers, where there is room for it
constexpr int kShortPiece = 128;
constexpr int kPad = 8;  // elements behind a row in shared memory: no bank conflicts
constexpr int kVector = 8;
constexpr int kMaxTokens = 64;
constexpr std::size_t kMaxSharedBytes = std::size_t{220} << 10;

/// Groups of warps with a tile's outputs, each for a share of the tokens, 8 at least.
template <int kTokens>
constexpr int kGroups = kTokens / 8 < 4 ? kTokens / 8 : 4;
template <int kTokens>
constexpr int kThreads = 32 * (kOutputs / kOutputsOfWarp) * kGroups<kTokens>;

/// Pieces in the ring: one more than are on their way.
template <int kPiece>
constexpr int kStages = kPiece == kLongPiece ? 3 : 5;

template <int kPiece>
std::size_t shared_bytes(std::int64_t tokens, std::int64_t inputs) {
  return static_cast<std::size_t>(kStages<kPiece> * kOutputs * (kPiece + kPad) +
                                  tokens * (inputs + kPad)) *
         2;
}

/// Piece number `piece` of this block's, on its way; none behind the last tile.
template <int kTokens, int kPiece, typename T>
__device__ void load_piece(const HeadCudaArgs<T>& args, int piece, T* ring) {
  const int pieces_of_tile = static_cast<int>(args.inputs) / kPiece;
  const std::int64_t tile =
      std::int64_t{blockIdx.x} + std::int64_t{piece / pieces_of_tile} * gridDim.x;
  constexpr int kStride = kPiece + kPad;
  T* to = ring + piece % kStages<kPiece> * kOutputs * kStride;
  constexpr int kVectors = kPiece / kVector;
  for (int i = static_cast<int>(threadIdx.x); i < kOutputs * kVectors; i += kThreads<kTokens>) {
    const std::int64_t output = tile * kOutputs + i / kVectors;
    if (output < args.outputs) {
      copy_to_shared(to + i / kVectors * kStride + i % kVectors * kVector,
                     args.weight + output * args.inputs + piece % pieces_of_tile * kPiece +
                         i % kVectors * kVector);
    }
  }
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// x is normalized already, [tokens, inputs]. Grid: any number of blocks. kTokens is a multiple of
/// 16.
template <typename T, int kTokens, int kPiece>
__global__ void __launch_bounds__(kThreads<kTokens>) head_some_rows_kernel(HeadCudaArgs<T> args) {
  constexpr int kTokensOfWarp = kTokens / kGroups<kTokens>;
  constexpr int kStride = kPiece + kPad;
  extern __shared__ __align__(16) std::byte shared[];
  T* ring = reinterpret_cast<T*>(shared);                   // [kStages, kOutputs, kStride]
  T* tokens = ring + kStages<kPiece> * kOutputs * kStride;  // [kTokens, inputs + kPad]
  let_next_kernel_start();
  const int inputs = static_cast<int>(args.inputs);
  const int token_stride = inputs + kPad;
  const auto tiles = static_cast<int>(divide_up(args.outputs, kOutputs));
  const int own_tiles = (tiles - static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) - 1) /
                        static_cast<int>(gridDim.x);
  const int pieces_of_tile = inputs / kPiece;
#pragma unroll
  for (int piece = 0; piece < kStages<kPiece> - 1; ++piece) {
    load_piece<kTokens, kPiece>(args, piece, ring);
  }

  wait_for_previous_kernel();
  for (int i = static_cast<int>(threadIdx.x) * kVector; i < kTokens * inputs;
       i += kThreads<kTokens> * kVector) {
    const int token = i / inputs;
    const auto x = token < args.tokens ? Vector<T>::load(args.x + i) : Vector<T>::zero();
    x.store(tokens + token * token_stride + i % inputs);
  }

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int outputs_at = warp % (kOutputs / kOutputsOfWarp) * kOutputsOfWarp;
  const int tokens_at = warp / (kOutputs / kOutputsOfWarp) * kTokensOfWarp;
  float sum[kTokensOfWarp / 8][4] = {};
  for (int piece = 0; piece < own_tiles * pieces_of_tile; ++piece) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages<kPiece> - 2) : "memory");
    __syncthreads();  // the piece is there for all, and all have done with the one before
    load_piece<kTokens, kPiece>(args, piece + kStages<kPiece> - 1, ring);
    const T* weights = ring + piece % kStages<kPiece> * kOutputs * kStride;
    const T* inputs_at = tokens + piece % pieces_of_tile * kPiece + 2 * t;
#pragma unroll
    for (int i = 0; i < kPiece; i += 16) {
      unsigned left[4];
      load_matrices(weights + (outputs_at + lane % 16) * kStride + i + lane / 16 * 8, left);
#pragma unroll
      for (int n = 0; n < kTokensOfWarp / 8; ++n) {
        const T* token = inputs_at + (tokens_at + n * 8 + g) * token_stride + i;
        multiply_add<T>(sum[n], left, pair_at(token), pair_at(token + 8));
      }
    }
    if (piece % pieces_of_tile == pieces_of_tile - 1) {
      const std::int64_t tile =
          std::int64_t{blockIdx.x} + std::int64_t{piece / pieces_of_tile} * gridDim.x;
#pragma unroll
      for (int n = 0; n < kTokensOfWarp / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const std::int64_t output = tile * kOutputs + outputs_at + g + i / 2 * 8;
          const int token = tokens_at + n * 8 + 2 * t + i % 2;
          if (output < args.outputs && token < args.tokens) {
            args.out[token * args.outputs + output] = from_float<T>(sum[n][i]);
          }
          sum[n][i] = 0;
        }
      }
    }
  }
}

template <typename T, int kTokens, int kPiece>
cudaError_t launch_pieces(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  const auto kernel = head_some_rows_kernel<T, kTokens, kPiece>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kMaxSharedBytes));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const std::int64_t tiles = divide_up(args.outputs, kOutputs);
  const std::int64_t blocks = tiles < multiprocessors ? tiles : multiprocessors;
  return launch(kernel, dim3(static_cast<unsigned>(blocks)), kThreads<kTokens>,
                shared_bytes<kPiece>(kTokens, args.inputs), stream, args);
}

template <int kPiece>
bool fits(std::int64_t tokens, std::int64_t inputs) {
  return inputs % kPiece == 0 && shared_bytes<kPiece>(tokens, inputs) <= kMaxSharedBytes;
}

template <typename T, int kTokens>
cudaError_t launch_tokens(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  return fits<kLongPiece>(kTokens, args.inputs)
             ? launch_pieces<T, kTokens, kLongPiece>(args, multiprocessors, stream)
             : launch_pieces<T, kTokens, kShortPiece>(args, multiprocessors, stream);
}

}  // namespace

bool head_some_rows_fit(std::int64_t tokens, std::int64_t inputs) {
  return tokens <= kMaxTokens && fits<kShortPiece>(kMaxTokens, inputs);
}

template <typename T>
cudaError_t head_some_rows(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  return args.tokens <= 16   ? launch_tokens<T, 16>(args, multiprocessors, stream)
         : args.tokens <= 32 ? launch_tokens<T, 32>(args, multiprocessors, stream)
                             : launch_tokens<T, kMaxTokens>(args, multiprocessors, stream);
}

template cudaError_t head_some_rows(const HeadCudaArgs<__half>&, int, cudaStream_t);
template cudaError_t head_some_rows(const HeadCudaArgs<__nv_bfloat16>&, int, cudaStream_t);

}  // namespace kvcache::kernels
