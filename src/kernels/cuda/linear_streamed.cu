// One kernel for norm(x) · weight + bias, its activation and the residual, for one token to four
// and large matrices: what counts is that their weights never stop coming.
//
// A block stays on each multiprocessor. It has a part of the inputs, and a cluster of such blocks
// goes through panels of 64 columns. Pieces of 64 inputs by a panel's columns lie one behind the
// other in memory; the copy engine brings them into a ring in shared memory, which is full before
// the kernel that computes x has ended. At the end of a panel the blocks of a cluster send their
// sums to the one that finishes the columns.
#include "base/rounding.hpp"
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kColumns = static_cast<int>(kPanelColumns);
constexpr int kPieceInputs = 64;
constexpr int kPieceElements = kPieceInputs * kColumns;
constexpr int kVector = 8;
constexpr int kOctets = kColumns / kVector;  // of a row of a piece: a thread's columns
constexpr int kWarps = 8;                    // that compute; one more brings the pieces
constexpr int kComputing = kWarps * 32;
constexpr int kThreads = kComputing + 32;
constexpr int kRowsAtOnce = kComputing / kOctets;
constexpr int kMaxStages = 13;
constexpr int kFewestStages = 6;
/// Two kernels have room on a multiprocessor: while one computes, the next fills its ring.
constexpr std::size_t kSharedBytes = std::size_t{110} << 10;

/// Of a block, in this order: the ring, the tokens' inputs [kTokens, inputs], the sums of warps
/// [kWarps, kTokens, 64], those that other blocks send [2, kTokens · 64].
template <int kTokens>
struct SharedLayout {
  int inputs;  // of the block's part, at most

  static constexpr int kSums = kTokens * kColumns;
  [[nodiscard]] __host__ __device__ std::size_t token_bytes() const {
    return sizeof(float) * static_cast<std::size_t>(inputs) * kTokens;
  }
  [[nodiscard]] __host__ __device__ int stages() const {
    const std::size_t taken = token_bytes() + sizeof(float) * (kWarps + 2) * kSums;
    const std::size_t room = kSharedBytes > taken ? kSharedBytes - taken : 0;
    const auto found = static_cast<int>(room / (kPieceElements * 2));
    return found < kMaxStages ? found : kMaxStages;
  }
};

/// What a block of a cluster does: of panels first, first + step, …, each a part of its pieces.
struct Share {
  int panels;    // in all
  int of_panel;  // pieces
  int part;
  int parts;

  __device__ static Share of(std::int64_t inputs, std::int64_t outputs) {
    return {static_cast<int>(divide_up(outputs, kPanelColumns)),
            static_cast<int>(inputs) / kPieceInputs, static_cast<int>(blockIdx.z),
            static_cast<int>(gridDim.z)};
  }
  [[nodiscard]] __device__ int begin(int of) const { return of * of_panel / parts; }
  [[nodiscard]] __device__ int begin() const { return begin(part); }
  [[nodiscard]] __device__ int pieces() const { return begin(part + 1) - begin(part); }
};

/// Waits for the threads that compute.
__device__ void wait_for_computing_threads() {
  asm volatile("bar.sync 1, %0;" ::"n"(kComputing) : "memory");
}

/// One thread keeps the ring full.
template <typename T>
__device__ void bring_pieces(const T* weight, const Share& share, int stages, T* ring,
                             CopyBarrier* full, CopyBarrier* empty) {
  constexpr unsigned kBytes = kPieceElements * sizeof(T);
  int stage = 0;
  unsigned turn = 0;
  for (int panel = static_cast<int>(blockIdx.x); panel < share.panels;
       panel += static_cast<int>(gridDim.x)) {
    const T* from =
        weight + (std::int64_t{panel} * share.of_panel + share.begin()) * kPieceElements;
    for (int piece = 0; piece < share.pieces(); ++piece, from += kPieceElements) {
      if (turn > 0) {
        empty[stage].wait((turn - 1) % 2);
      }
      full[stage].expect(kBytes);
      full[stage].copy(ring + stage * kPieceElements, from, kBytes, ReadAgain::no);
      if (++stage == stages) {
        stage = 0;
        ++turn;
      }
    }
  }
}

/// The norm's weights of a thread's inputs, which may be there before x is.
template <typename T>
struct NormWeights {
  Vector<T> weight, bias;

  __device__ NormWeights(const NormArgs<T>& norm, int input, int inputs)
      : weight(norm.weight != nullptr && input < inputs ? Vector<T>::load(norm.weight + input)
                                                        : Vector<T>::zero()),
        bias(norm.bias != nullptr && input < inputs ? Vector<T>::load(norm.bias + input)
                                                    : Vector<T>::zero()) {}
};

/// The block's part of a token, `begin` to `begin + count`, in float32 to shared memory, `to`.
template <typename T>
__device__ void stage_plain(const T* row, bool exists, int begin, int count, float* to) {
  for (int i = static_cast<int>(threadIdx.x) * kVector; i < count; i += kComputing * kVector) {
    const auto x = exists ? Vector<T>::load(row + begin + i) : Vector<T>::zero();
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      to[i + c] = to_float(x.elements[c]);
    }
  }
}

/// The same of a normalized token. Every block finds the moments of the whole token, about its
/// first input (of an rms_norm about zero): without cancellation where all are far from zero.
template <typename T>
__device__ void stage_normalized(const LinearCudaArgs<T>& args, const NormWeights<T>& first,
                                 const T* row, bool exists, int begin, int count, float* to,
                                 float2* moments) {
  const int inputs = static_cast<int>(args.inputs);
  const int own = static_cast<int>(threadIdx.x) * kVector;
  const float origin = exists && !args.norm.is_rms ? to_float(row[0]) : 0.0F;
  const auto input_of = [&](int i) {
    return exists ? Vector<T>::load(row + i) : Vector<T>::zero();
  };
  const Vector<T> own_x = own < inputs ? input_of(own) : Vector<T>::zero();
  float2 moment{0.0F, 0.0F};
  for (int i = own; i < inputs; i += kComputing * kVector) {
    const Vector<T> x = i == own ? own_x : input_of(i);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const float difference = to_float(x.elements[c]) - origin;
      moment.x += difference;
      moment.y += difference * difference;
    }
  }
  moment = {sum_of_lanes(moment.x), sum_of_lanes(moment.y)};
  if (threadIdx.x % 32 == 0) {
    moments[threadIdx.x / 32] = moment;
  }
  wait_for_computing_threads();
  float2 total{0.0F, 0.0F};
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    total.x += moments[warp].x;
    total.y += moments[warp].y;
  }
  const float mean = args.norm.is_rms ? 0.0F : total.x / static_cast<float>(inputs);
  const float scale =
      rsqrtf(total.y / static_cast<float>(inputs) - mean * mean + args.norm.epsilon);
  for (int i = own; i < begin + count; i += kComputing * kVector) {
    if (i < begin) {
      continue;
    }
    const Vector<T> x = i == own ? own_x : input_of(i);
    const NormWeights<T> norm = i == own ? first : NormWeights<T>(args.norm, i, inputs);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      to[i - begin + c] =
          (to_float(x.elements[c]) - origin - mean) * scale * to_float(norm.weight.elements[c]) +
          to_float(norm.bias.elements[c]);
    }
  }
}

/// The sums of the block's threads to those of its columns: thread i < kTokens · 64 gets that of
/// token i / 64, column i % 64.
template <int kTokens>
__device__ float sum_of_threads(float (&sum)[kTokens][kVector], float* sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int token = 0; token < kTokens; ++token) {
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      float value = sum[token][c];
      value += __shfl_xor_sync(kAllLanes, value, 8);
      value += __shfl_xor_sync(kAllLanes, value, 16);
      if (lane < kOctets) {
        sums[(warp * kTokens + token) * kColumns + lane * kVector + c] = value;
      }
      sum[token][c] = 0;
    }
  }
  wait_for_computing_threads();
  float total = 0;
  if (threadIdx.x < kTokens * kColumns) {
#pragma unroll
    for (int from = 0; from < kWarps; ++from) {
      total += sums[from * kTokens * kColumns + threadIdx.x];
    }
  }
  return total;
}

/// A result, and what is added to it, which is read ahead.
template <typename T>
struct Result {
  bool exists = false;
  std::int64_t at = 0;
  float bias = 0;
  float residual = 0;

  __device__ Result(const LinearCudaArgs<T>& args, int panel, int token, int column) {
    const std::int64_t output = std::int64_t{panel} * kColumns + column;
    exists = token < args.tokens && output < args.outputs;
    if (exists) {
      at = token * args.outputs + output;
      bias = args.bias != nullptr ? to_float(args.bias[output]) : 0.0F;
      residual = args.residual != nullptr ? to_float(args.residual[at]) : 0.0F;
    }
  }

  __device__ void finish(const LinearCudaArgs<T>& args, float value) const {
    if (exists) {
      value += bias;
      args.out[at] = from_float<T>(residual + (args.gelu ? gelu_tanh(value) : value));
    }
  }
};

/// Grid: clusters, 1, parts of the inputs.
template <typename T, int kTokens>
__global__ void __launch_bounds__(kThreads) linear_streamed_kernel(LinearCudaArgs<T> args) {
  constexpr int kSums = SharedLayout<kTokens>::kSums;
  extern __shared__ __align__(128) std::byte shared[];
  __shared__ CopyBarrier full[kMaxStages];
  __shared__ CopyBarrier empty[kMaxStages];
  __shared__ CopyBarrier sent;
  __shared__ float2 moments[kWarps];
  const Share share = Share::of(args.inputs, args.outputs);
  const int parts = share.parts;
  const SharedLayout<kTokens> layout{divide_up(share.of_panel, parts) * kPieceInputs};
  const int stages = layout.stages();
  auto* const ring = reinterpret_cast<T*>(shared);
  auto* const tokens = reinterpret_cast<float*>(ring + stages * kPieceElements);
  auto* const sums = tokens + layout.inputs * kTokens;
  auto* const others = sums + kWarps * kSums;

  let_next_kernel_start();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == kComputing) {
    for (int stage = 0; stage < stages; ++stage) {
      full[stage].initialize();
      empty[stage].initialize(kWarps);
    }
    sent.initialize(static_cast<unsigned>(parts * kTokens));
  }
  __syncthreads();
  if (parts > 1) {
    arrive_at_cluster_early();  // its blocks have their barriers before any arrives at another's
  }
  if (threadIdx.x >= kComputing) {
    if (lane == 0) {
      bring_pieces(args.weight, share, stages, ring, full, empty);
    }
    if (parts > 1) {
      __syncwarp();
      wait_for_cluster();
    }
    return;
  }

  const int inputs = static_cast<int>(args.inputs);
  const int begin = share.begin() * kPieceInputs;
  const int count = share.pieces() * kPieceInputs;
  const NormWeights<T> norm(args.norm, static_cast<int>(threadIdx.x) * kVector, inputs);
  if (parts > 1) {
    wait_for_cluster();
  }
  // A block finishes 64 / parts columns of each panel.
  const int own_columns = kColumns / parts;
  const int token_of_thread = static_cast<int>(threadIdx.x) / own_columns;
  const int own_column = static_cast<int>(threadIdx.x) % own_columns;
  const auto result_of = [&](int panel) {
    return Result<T>(args, panel, token_of_thread < kTokens ? token_of_thread : kMaxStreamedTokens,
                     share.part * own_columns + own_column);
  };
  wait_for_previous_kernel();
  Result<T> result = result_of(static_cast<int>(blockIdx.x));
#pragma unroll
  for (int token = 0; token < kTokens; ++token) {
    const T* row = args.x + std::int64_t{token} * inputs;
    float* to = tokens + token * layout.inputs;
    if (args.norm.weight != nullptr) {
      stage_normalized(args, norm, row, token < args.tokens, begin, count, to, moments);
    } else {
      stage_plain(row, token < args.tokens, begin, count, to);
    }
    wait_for_computing_threads();
  }

  const int row = static_cast<int>(threadIdx.x) / kOctets;
  const int octet = static_cast<int>(threadIdx.x) % kOctets;
  float sum[kTokens][kVector] = {};
  int stage = 0;
  unsigned parity = 0;
  int done = 0;  // panels
  for (int panel = static_cast<int>(blockIdx.x); panel < share.panels;
       panel += static_cast<int>(gridDim.x), ++done) {
    const float* x = tokens + row;
    for (int piece = 0; piece < share.pieces(); ++piece, x += kPieceInputs) {
      full[stage].wait(parity);
      const T* weights = ring + stage * kPieceElements + row * kColumns + octet * kVector;
      Loads loads;
#pragma unroll
      for (int i = 0; i < kPieceInputs; i += kRowsAtOnce) {
        const auto w = Vector<T>::load(weights + i * kColumns);
        loads.add(*reinterpret_cast<const unsigned*>(w.elements));
#pragma unroll
        for (int token = 0; token < kTokens; ++token) {
          const float value = x[token * layout.inputs + i];
#pragma unroll
          for (int c = 0; c < kVector; ++c) {
            sum[token][c] += value * to_float(w.elements[c]);
          }
        }
      }
      __syncwarp();
      if (lane == 0) {
        empty[stage].arrive(loads);
      }
      if (++stage == stages) {
        stage = 0;
        parity ^= 1;
      }
    }

    float total = sum_of_threads<kTokens>(sum, sums);
    if (parts > 1) {
      // Two buffers: who sends the sums of the panel after the next has had those of the next from
      // all blocks, so all have read this one's.
      float* const buffer = others + done % 2 * kSums;
      if (threadIdx.x < kSums) {
        const int token = static_cast<int>(threadIdx.x) / kColumns;
        const int column = static_cast<int>(threadIdx.x) % kColumns;
        const auto rank = static_cast<unsigned>(column / own_columns);
        in_block(buffer,
                 rank)[(share.part * kTokens + token) * own_columns + column % own_columns] = total;
        __syncwarp();
        if (column % own_columns == 0) {
          sent.arrive_in_block(rank);
        }
      }
      sent.wait_for_cluster(static_cast<unsigned>(done % 2));
      if (token_of_thread < kTokens) {
        total = 0;
        for (int part = 0; part < parts; ++part) {
          total += buffer[(part * kTokens + token_of_thread) * own_columns + own_column];
        }
      }
    }
    result.finish(args, total);
    if (panel + static_cast<int>(gridDim.x) < share.panels) {
      result = result_of(panel + static_cast<int>(gridDim.x));
    }
    wait_for_computing_threads();  // before `sums` is written again
  }
}

/// Clusters of so many blocks that the device has room for, one block a multiprocessor.
std::int64_t most_clusters(int parts, int multiprocessors) {
  return multiprocessors / parts > 0 ? multiprocessors / parts : 1;
}

/// Parts of the inputs: those with which a block has least to do. An exchange of sums takes about
/// as long as four pieces.
int choose_parts(std::int64_t inputs, std::int64_t outputs, int multiprocessors) {
  const std::int64_t panels = divide_up(outputs, kPanelColumns);
  const std::int64_t of_panel = inputs / kPieceInputs;
  int best = 1;
  std::int64_t least = 0;
  for (int parts = 1; parts <= kMaxCluster && parts <= of_panel; parts *= 2) {
    const std::int64_t pieces = divide_up(panels, most_clusters(parts, multiprocessors)) *
                                (divide_up(of_panel, parts) + (parts > 1 ? 4 : 2));
    if (parts == 1 || pieces < least) {
      best = parts;
      least = pieces;
    }
  }
  return best;
}

template <typename T, int kTokens>
cudaError_t launch_tokens(const LinearCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  const auto kernel = linear_streamed_kernel<T, kTokens>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kSharedBytes));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const int parts = choose_parts(args.inputs, args.outputs, multiprocessors);
  const std::int64_t panels = divide_up(args.outputs, kPanelColumns);
  const std::int64_t most = most_clusters(parts, multiprocessors);
  const std::int64_t clusters = divide_up(panels, divide_up(panels, most));  // all as busy
  const dim3 grid(static_cast<unsigned>(clusters), 1, static_cast<unsigned>(parts));
  return launch(kernel, grid, kThreads, kSharedBytes, stream, args);
}

template <int kTokens>
bool fits(std::int64_t inputs, int parts) {
  const std::int64_t pieces = divide_up(inputs / kPieceInputs, parts);
  return SharedLayout<kTokens>{static_cast<int>(pieces) * kPieceInputs}.stages() >= kFewestStages;
}

}  // namespace

bool streamed_fits(std::int64_t tokens, std::int64_t inputs, std::int64_t outputs,
                   int multiprocessors) {
  if (inputs % kPieceInputs != 0 || tokens > kMaxStreamedTokens || !device_has_clusters()) {
    return false;
  }
  const int parts = choose_parts(inputs, outputs, multiprocessors);
  return tokens == 1   ? fits<1>(inputs, parts)
         : tokens == 2 ? fits<2>(inputs, parts)
                       : fits<kMaxStreamedTokens>(inputs, parts);
}

template <typename T>
cudaError_t linear_streamed(const LinearCudaArgs<T>& args, int multiprocessors,
                            cudaStream_t stream) {
  return args.tokens == 1   ? launch_tokens<T, 1>(args, multiprocessors, stream)
         : args.tokens == 2 ? launch_tokens<T, 2>(args, multiprocessors, stream)
                            : launch_tokens<T, kMaxStreamedTokens>(args, multiprocessors, stream);
}

template cudaError_t linear_streamed(const LinearCudaArgs<__half>&, int, cudaStream_t);
template cudaError_t linear_streamed(const LinearCudaArgs<__nv_bfloat16>&, int, cudaStream_t);

}  // namespace kvcache::kernels
