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

/// A block's tiles, piece after piece.
struct PieceNumber {
  int piece = 0;  // of the tile
  std::int64_t tile;

  __device__ void next(int pieces_of_tile) {
    if (++piece == pieces_of_tile) {
      piece = 0;
      tile += gridDim.x;
    }
  }
};

/// A piece on its way to a stage of the ring; nothing behind the last tile.
template <int kTokens, int kPiece, typename T>
__device__ void load_piece(const HeadCudaArgs<T>& args, const PieceNumber& number, T* stage) {
  constexpr int kStride = kPiece + kPad;
  constexpr int kVectors = kPiece / kVector;
  constexpr int kRows = kThreads<kTokens> / kVectors;  // at once
  static_assert(kThreads<kTokens> % kVectors == 0);
  const int row = static_cast<int>(threadIdx.x) / kVectors;
  const int column = static_cast<int>(threadIdx.x) % kVectors * kVector;
  const std::int64_t output = number.tile * kOutputs + row;
  const T* from = args.weight + output * args.inputs + number.piece * kPiece + column;
  T* to = stage + row * kStride + column;
  const std::int64_t step = kRows * args.inputs;
  const auto rows = static_cast<int>(
      min(std::int64_t{kOutputs}, args.outputs - number.tile * kOutputs));  // or none
#pragma unroll
  for (int i = 0; i < kOutputs; i += kRows) {
    if (row + i < rows) {
      copy_to_shared(to + i * kStride, from);
    }
    from += step;
  }
  commit_copies();
}

/// x is normalized already, [tokens, inputs]. Grid: any number of blocks. kTokens is a multiple of
/// 16.
template <typename T, int kTokens, int kPiece>
__global__ void __launch_bounds__(kThreads<kTokens>) head_some_rows_kernel(HeadCudaArgs<T> args) {
  constexpr int kTokensOfWarp = kTokens / kGroups<kTokens>;
  static_assert(kTokensOfWarp == 8 || kTokensOfWarp == 16);
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
  PieceNumber arriving{0, std::int64_t{blockIdx.x}};
#pragma unroll
  for (int stage = 0; stage < kStages<kPiece> - 1; ++stage) {
    load_piece<kTokens, kPiece>(args, arriving, ring + stage * kOutputs * kStride);
    arriving.next(pieces_of_tile);
  }

  wait_for_previous_kernel();
  constexpr int kLanes = kThreads<kTokens> / kTokens;  // of a token
  const int own_token = static_cast<int>(threadIdx.x) / kLanes;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x) % kLanes * kVector; i < inputs;
       i += kLanes * kVector) {
    copy_or_clear(tokens + own_token * token_stride + i,
                  args.x + (own_token < args.tokens ? own_token * inputs + i : 0),
                  own_token < args.tokens);
  }
  commit_copies();
  wait_for_copies();

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int outputs_at = warp % (kOutputs / kOutputsOfWarp) * kOutputsOfWarp;
  const int tokens_at = warp / (kOutputs / kOutputsOfWarp) * kTokensOfWarp;
  float sum[kTokensOfWarp / 8][4] = {};
  const T* const left_at = ring + (outputs_at + lane % 16) * kStride + lane / 16 * 8;
  // Four matrices: of 8 tokens, 32 inputs; of 16 tokens, 16 inputs.
  constexpr bool kFew = kTokensOfWarp == 8;
  const T* const right_at = tokens +
                            (tokens_at + lane % 8 + (kFew ? 0 : lane / 16 * 8)) * token_stride +
                            (kFew ? lane / 8 : lane / 8 % 2) * 8;
  PieceNumber here{0, std::int64_t{blockIdx.x}};
  int stage = 0;
  for (int left_pieces = own_tiles * pieces_of_tile; left_pieces > 0; --left_pieces) {
    wait_for_copies_but<kStages<kPiece> - 2>();
    __syncthreads();  // the piece is there for all, and all have done with the one before
    load_piece<kTokens, kPiece>(
        args, arriving, ring + (stage == 0 ? kStages<kPiece> - 1 : stage - 1) * kOutputs * kStride);
    arriving.next(pieces_of_tile);
    const T* const weights = left_at + stage * kOutputs * kStride;
    const T* const inputs_at = right_at + here.piece * kPiece;
#pragma unroll 4
    for (int i = 0; i < kPiece; i += 32) {
      unsigned left[2][4];
      load_matrices(weights + i, left[0]);
      load_matrices(weights + i + 16, left[1]);
      unsigned right[4];
      load_matrices(inputs_at + i, right);
      if constexpr (kFew) {
        multiply_add<T>(sum[0], left[0], right[0], right[1]);
        multiply_add<T>(sum[0], left[1], right[2], right[3]);
      } else {
        multiply_add<T>(sum[0], left[0], right[0], right[1]);
        multiply_add<T>(sum[1], left[0], right[2], right[3]);
        load_matrices(inputs_at + i + 16, right);
        multiply_add<T>(sum[0], left[1], right[0], right[1]);
        multiply_add<T>(sum[1], left[1], right[2], right[3]);
      }
    }
    if (here.piece == pieces_of_tile - 1) {
#pragma unroll
      for (int n = 0; n < kTokensOfWarp / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const std::int64_t output = here.tile * kOutputs + outputs_at + g + i / 2 * 8;
          const int token = tokens_at + n * 8 + 2 * t + i % 2;
          if (output < args.outputs && token < args.tokens) {
            args.out[token * args.outputs + output] = from_float<T>(sum[n][i]);
          }
          sum[n][i] = 0;
        }
      }
    }
    here.next(pieces_of_tile);
    stage = stage + 1 == kStages<kPiece> ? 0 : stage + 1;
  }
}

template <typename T, int kTokens, int kPiece>
cudaError_t launch_pieces(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  const auto kernel = head_some_rows_kernel<T, kTokens, kPiece>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
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
  return inputs % kPiece == 0 && shared_bytes<kPiece>(tokens, inputs) <= most_shared_bytes();
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
