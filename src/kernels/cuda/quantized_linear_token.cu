// norm(x) · weight + bias, its activation or gate and the residual, of a single token, for weights
// of 8 and 4 bits.
//
// All eight columns of the tensor cores' integer product are the token's: so each of the four lanes
// that have the same outputs takes the sum of another one of them, and what is done to a block's
// sums is done once an output. A lane's weights lie in registers, several steps of them on their
// way before the kernel before has ended. What else there is to know stands in quantized_linear.cu.
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/quantized_linear_token.hpp"
#include "kernels/cuda/quantized_product.cuh"

namespace kvcache::kernels {
namespace {

using namespace quantized;

/// A lane's weights of one step, 32 inputs of its warp's 32 outputs, and the scale of its own one.
template <class K, int kMatrices>
struct Step {
  uint4 words[kMatrices][K::kRows];  // of four outputs each
  __half scales[kMatrices][K::kScaleRows];
};

/// Steps that are on their way: some 32 registers.
template <class K, int kMatrices>
constexpr int kDepth = 8 / (kMatrices * K::kRows);

/// A warp's way through the panels of its cluster, so many steps at once, which are of one panel.
template <class K, int kMatrices, Blocks kBlocks>
class Source {
 public:
  /// `first` of the panel's units, `count` of them.
  __device__ Source(const ProductArgs& args, int half, int first, int count, int lane)
      : args_(args),
        unit_log2_(kBlocks == Blocks::several_steps ? args.unit_steps_log2 : 0),
        steps_(count << unit_log2_),
        left_(steps_),
        panel_(count > 0 ? static_cast<int>(blockIdx.x) : args.panels) {
    const std::int64_t panel = std::int64_t{blockIdx.x} * kMatrices;
    values_ = args.values + panel * args.panel_bytes +
              std::int64_t{first << unit_log2_} * kStepBytes + lane % 4 * (K::kRows * kRowBytes) +
              half * (kRowBytes / kHalves) + lane / 4 * 16;
    scales_ = args.scales + panel * args.panel_scales + first * kUnitScales +
              half * kOutputsOfWarp + lane;
  }

  [[nodiscard]] __device__ int steps() const { return steps_; }  // of a panel
  [[nodiscard]] __device__ int unit_log2() const { return unit_log2_; }

  /// The `i`-th of the steps at once, if there is one.
  __device__ void load(int i, Step<K, kMatrices>& to) const {
    if (panel_ < args_.panels && i < left_) {
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int row = 0; row < K::kRows; ++row) {
          to.words[m][row] = __ldcs(reinterpret_cast<const uint4*>(
              values_ + m * args_.panel_bytes + i * kStepBytes + row * kRowBytes));
        }
        const int unit = (steps_ - left_ + i) >> unit_log2_;
#pragma unroll
        for (int row = 0; row < K::kScaleRows; ++row) {
          to.scales[m][row] = scales_[m * args_.panel_scales + unit * kUnitScales + row * kColumns];
        }
      }
    }
  }

  /// To the next ones.
  __device__ void advance() {
    left_ -= kDepth<K, kMatrices>;
    values_ += kDepth<K, kMatrices> * kStepBytes;
    if (left_ <= 0) {
      values_ -= (steps_ - left_) * kStepBytes;
      left_ = steps_;
      panel_ += static_cast<int>(gridDim.x);
      const std::int64_t panels_on = std::int64_t{gridDim.x} * kMatrices;
      values_ += panels_on * args_.panel_bytes;
      scales_ += panels_on * args_.panel_scales;
    }
  }

 private:
  static constexpr int kStepBytes = 4 * K::kRows * kRowBytes;
  static constexpr int kUnitScales = K::kScaleRows * kColumns;

  const ProductArgs& args_;
  int unit_log2_;  // steps
  int steps_;
  int left_;  // of the panel
  int panel_;
  const std::uint8_t* values_;
  const __half* scales_;
};

/// Integers of up to 22 bits that are added to its bits become floats by a subtraction.
constexpr float kBase = 12582912.0F;

/// What a lane sums up of its output.
template <class K, int kLevels, int kMatrices, Blocks kBlocks>
class Sums {
 public:
  /// `x`: the lane's eight inputs of the first step, `blocks` its block.
  __device__ Sums(const std::byte* x, int stride, const ColumnBlock* blocks, int lane,
                  int unit_log2)
      : x_(x), stride_(stride), blocks_(blocks), lane_(lane), unit_mask_((1 << unit_log2) - 1) {}

  __device__ void add(const Step<K, kMatrices>& step) {
    const bool begins = kBlocks == Blocks::steps || (step_ & unit_mask_) == 0;
    const bool ends = kBlocks == Blocks::steps || (step_ & unit_mask_) == unit_mask_;
#pragma unroll
    for (int level = 0; level < kLevels; ++level) {
      const uint2 x = *reinterpret_cast<const uint2*>(x_ + level * stride_);
      if (begins) {
        const uint2 bits = *reinterpret_cast<const uint2*>(blocks_ + level);
        block_[level] = {__uint_as_float(bits.x), static_cast<int>(bits.y)};
      }
      const int base = __float_as_int(kBase) + (K::kMinimums ? 0 : block_[level].offset);
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
          int(&products)[4] = products_[level][m][pair];
          if (begins) {
#pragma unroll
            for (int& product : products) {
              product = base;
            }
          }
          unsigned a[4];
          left_side<K>(step.words[m], pair, a);
          multiply_add_bytes(products, a, x);
        }
        if (ends) {
          end_block(products_[level][m], block_[level], step.scales[m], sums_[m]);
        }
      }
    }
    ++step_;
    x_ += kStepInputs;
    blocks_ += ends ? kLevels : 0;
  }

  [[nodiscard]] __device__ float sum(int matrix) const { return sums_[matrix]; }

 private:
  __device__ void end_block(const int (&products)[2][4], const ColumnBlock& block,
                            const __half (&scales)[K::kScaleRows], float& sum) const {
    const int even = (lane_ & 2) == 0 ? products[0][0] : products[1][0];
    const int odd = (lane_ & 2) == 0 ? products[0][2] : products[1][2];
    const float product = __int_as_float((lane_ & 1) == 0 ? even : odd) - kBase;
    sum = fmaf(product * block.scale, __half2float(scales[0]), sum);
    if constexpr (K::kMinimums) {
      sum = fmaf(static_cast<float>(block.offset) * block.scale,
                 __half2float(scales[K::kScaleRows - 1]), sum);
    }
  }

  const std::byte* x_;
  int stride_;
  const ColumnBlock* blocks_;
  int lane_;
  int unit_mask_;
  int step_ = 0;
  ColumnBlock block_[kLevels];
  int products_[kLevels][kMatrices][2][4];
  float sums_[kMatrices] = {};
};

/// Shared memory: the token's inputs of the thread block's part [levels, stride] and their blocks
/// [blocks, levels].
template <int kLevels>
struct TokenLayout {
  int stride;
  int blocks;

  static constexpr int kAllColumns = kLevels;

  __host__ __device__ TokenLayout(int inputs, int block_size, int /*columns*/)
      : stride(inputs), blocks(inputs / block_size) {}
  [[nodiscard]] __host__ __device__ int blocks_at() const { return kLevels * stride; }
  [[nodiscard]] __host__ __device__ int bytes() const {
    return blocks_at() + blocks * kLevels * static_cast<int>(sizeof(ColumnBlock));
  }
};

/// The token's inputs of a thread block's part, normed and rounded, eight neighbouring ones a
/// thread. What does not come from the kernel before is on its way before that has ended.
template <int kLevels, Blocks kBlocks>
class Rounding {
 public:
  /// `first`: of the part's inputs, `count` of them.
  __device__ Rounding(const ProductArgs& args, int first, int count)
      : args_(args), first_(first), count_(count) {
    load_norm(0);
  }

  __device__ void operator()(const TokenLayout<kLevels>& layout, std::byte* shared) {
    const float* const row =
        args_.x + (args_.positions != nullptr ? args_.positions[0] : 0) * args_.inputs;
    float x[8];
    load(row, 0, x);
    float shift = 0;
    float scale = 1;
    if (args_.norm.weight != nullptr) {
      const float origin = args_.norm.is_rms ? 0.0F : row[0];
      const float2 moment = moments(row, origin);
      const auto inputs = static_cast<float>(args_.inputs);
      const float mean = args_.norm.is_rms ? 0.0F : moment.x / inputs;
      scale = rsqrtf(moment.y / inputs - mean * mean + args_.norm.epsilon);
      shift = origin + mean;
    }
    const int unit_lanes_log2 = (kBlocks == Blocks::steps ? 0 : args_.unit_steps_log2) + 2;
    auto* const blocks = reinterpret_cast<ColumnBlock*>(shared + layout.blocks_at());
#pragma unroll 1
    for (int at = 0;;) {
      if (args_.norm.weight != nullptr) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          x[i] = (x[i] - shift) * scale * weight_[i] + bias_[i];
        }
      }
      const int own = at + static_cast<int>(threadIdx.x) * 8;
      round_to_levels(
          x, 1 << unit_lanes_log2, kLevels,
          [&](int level, const EightRounded& rounded, float factor) {
            if (own < count_) {
              *reinterpret_cast<uint2*>(shared + level * layout.stride + own) = rounded.values;
              const int lane = own / 8;
              if ((lane & ((1 << unit_lanes_log2) - 1)) == 0) {
                blocks[(lane >> unit_lanes_log2) * kLevels + level] = {
                    factor, args_.zero_point == 0 ? rounded.sum : -args_.zero_point * rounded.sum};
              }
            }
          });
      at += kThreads * 8;
      if (at >= count_) {
        break;
      }
      load(row, at, x);
      load_norm(at);
    }
  }

 private:
  /// Eight of a vector's elements, or zeros where the part or the vector has ended.
  __device__ void load(const float* vector, int at, float (&to)[8]) const {
    const int own = at + static_cast<int>(threadIdx.x) * 8;
    if (own < count_ && first_ + own < args_.inputs) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const auto four = Vector<float>::load(vector + first_ + own + 4 * half);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          to[4 * half + i] = four.elements[i];
        }
      }
    } else {
#pragma unroll
      for (float& element : to) {
        element = 0;
      }
    }
  }
  __device__ void load_norm(int at) {
    if (args_.norm.weight != nullptr) {
      load(args_.norm.weight, at, weight_);
      if (args_.norm.bias != nullptr) {
        load(args_.norm.bias, at, bias_);
      }
    }
  }

  /// Sums of all inputs and of their squares, about `origin`.
  [[nodiscard]] __device__ float2 moments(const float* row, float origin) const {
    __shared__ float2 of_warps[kWarps];
    float2 own{0.0F, 0.0F};
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll 2
    for (int i = thread * 4; i < args_.inputs; i += kThreads * 4) {
      const auto four = Vector<float>::load(row + i);
#pragma unroll
      for (const float element : four.elements) {
        own.x += element - origin;
        own.y += (element - origin) * (element - origin);
      }
    }
    own = {sum_of_lanes(own.x), sum_of_lanes(own.y)};
    if (thread % 32 == 0) {
      of_warps[thread / 32] = own;
    }
    __syncthreads();
    float2 total{0.0F, 0.0F};
#pragma unroll
    for (const float2& one : of_warps) {
      total.x += one.x;
      total.y += one.y;
    }
    return total;
  }

  const ProductArgs& args_;
  int first_;
  int count_;
  float weight_[8];
  float bias_[8] = {};
};

/// What the first warp does with a panel's sums: two neighbouring outputs a lane. Where the inputs
/// are in parts, the cluster has one panel, and each of its thread blocks finishes some outputs.
template <int kMatrices>
class Finish {
 public:
  struct Shared {
    float sums[2][kShares][kMatrices][kColumns];  // of warps; panels take turns
    float gathered[kMatrices * kColumns];         // [parts, matrices, outputs of the thread block]
    CopyBarrier all_there;                        // what the cluster sent
  };

  __device__ Finish(const ProductArgs& args, Shared& shared)
      : args_(args),
        shared_(shared),
        own_log2_(kColumnsLog2 - args.parts_log2),
        part_(static_cast<int>(blockIdx.z)),
        output_(2 * (static_cast<int>(threadIdx.x) % 32)) {}

  /// By one thread, before the cluster's blocks know of each other.
  __device__ void initialize() {
    shared_.all_there.initialize();
    shared_.all_there.expect(sizeof(shared_.gathered));
  }

  /// What is added is on its way.
  __device__ void load(int panel) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::int64_t output = own_output(panel) + i;
      if (output_ >> own_log2_ == 0 && output < args_.outputs) {
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
          bias_[m][i] = args_.bias != nullptr ? args_.bias[m * args_.outputs + output] : 0.0F;
        }
        residual_[i] = args_.residual != nullptr ? args_.residual[output] : 0.0F;
      }
    }
  }

  /// `number`: of the panels that this cluster had before.
  __device__ void operator()(int panel, int number) {
    float2 sums[kMatrices];
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      sums[m] = {0.0F, 0.0F};
#pragma unroll
      for (int share = 0; share < kShares; ++share) {
        add(sums[m], &shared_.sums[number % 2][share][m][output_]);
      }
    }
    if (args_.parts_log2 > 0) {
      const int own_mask = (1 << own_log2_) - 1;
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
        send_to_block(
            shared_.gathered + ((part_ * kMatrices + m) << own_log2_) + (output_ & own_mask),
            sums[m], shared_.all_there, static_cast<unsigned>(output_ >> own_log2_));
      }
      shared_.all_there.wait_for_cluster(0);
      if (output_ >> own_log2_ == 0) {
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
          sums[m] = {0.0F, 0.0F};
#pragma unroll 1
          for (int part = 0; part < 1 << args_.parts_log2; ++part) {
            add(sums[m], shared_.gathered + ((part * kMatrices + m) << own_log2_) + output_);
          }
        }
      }
    }
    if (output_ >> own_log2_ == 0) {
#pragma unroll 1
      for (int i = 0; i < 2; ++i) {
        const std::int64_t output = own_output(panel) + i;
        if (output < args_.outputs) {
          float value = activated(args_.activation, sums[0].x + bias_[0][0]);
          if constexpr (kMatrices == 2) {
            value *= sums[1].x + bias_[1][0];
          }
          args_.out[output] = residual_[0] + value;
        }
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
          sums[m].x = sums[m].y;
          bias_[m][0] = bias_[m][1];
        }
        residual_[0] = residual_[1];
      }
    }
  }

 private:
  [[nodiscard]] __device__ std::int64_t own_output(int panel) const {
    return std::int64_t{panel} * kColumns + (part_ << own_log2_) + output_;
  }
  __device__ static void add(float2& sum, const float* two) {
    const float2 more = *reinterpret_cast<const float2*>(two);
    sum.x += more.x;
    sum.y += more.y;
  }

  const ProductArgs& args_;
  Shared& shared_;
  int own_log2_;  // outputs of the thread block
  int part_;
  int output_;
  float bias_[kMatrices][2] = {};
  float residual_[2] = {};
};

/// Grid: clusters, 1, parts of the inputs.
template <class K, int kLevels, int kMatrices, Blocks kBlocks>
__global__ void __launch_bounds__(kThreads, 2) quantized_token_kernel(ProductArgs args) {
  constexpr int kAtOnce = kDepth<K, kMatrices>;
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ typename Finish<kMatrices>::Shared of_panels;
  const int warp = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int half = warp % kHalves;
  const int share = warp / kHalves;

  let_next_kernel_start();
  Finish<kMatrices> finish(args, of_panels);
  if (args.parts_log2 > 0) {
    if (threadIdx.x == 0) {
      finish.initialize();
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
  Rounding<kLevels, kBlocks> round(args, part.first * args.unit_inputs,
                                   part.count * args.unit_inputs);
  const TokenLayout<kLevels> layout(args.inputs_of_part, args.block_size, kLevels);

  wait_for_previous_kernel();
  if (warp == 0) {
    finish.load(static_cast<int>(blockIdx.x));
  }
  round(layout, shared);
  if (args.parts_log2 > 0) {
    wait_for_cluster();
  }
  __syncthreads();

  const std::byte* const x = shared + lane % 4 * 8 + own.first * args.unit_inputs;
  const auto* const blocks =
      reinterpret_cast<const ColumnBlock*>(shared + layout.blocks_at()) + own.first * kLevels;
  int number = 0;
#pragma unroll 1
  for (auto panel = static_cast<int>(blockIdx.x); panel < args.panels;
       panel += static_cast<int>(gridDim.x), ++number) {
    Sums<K, kLevels, kMatrices, kBlocks> sums(x, layout.stride, blocks, lane, source.unit_log2());
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
      of_panels.sums[number % 2][share][m][half * kOutputsOfWarp + lane] = sums.sum(m);
    }
    __syncthreads();  // also: the first warp is done with the panel before
    if (warp == 0) {
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

template <class K, int kLevels, int kMatrices, Blocks kBlocks>
cudaError_t launch_token(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                         int multiprocessors, cudaStream_t stream) {
  constexpr int kMostPartsLog2 = 2;  // there is not often room for larger clusters
  const auto kernel = quantized_token_kernel<K, kLevels, kMatrices, kBlocks>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  Shape<TokenLayout<kLevels>> shape(args, columns, 0, slots_of<K>(args, multiprocessors),
                                    kMostPartsLog2);
  if (!shape.fits()) {
    return cudaErrorInvalidValue;
  }
  shape.round_within(args);
  return launch(kernel, shape.grid, kThreads, shape.shared_bytes, stream, shape.args);
}

template <class K, int kLevels, int kMatrices>
cudaError_t launch_blocks(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                          int multiprocessors, cudaStream_t stream) {
  return args.weight.block_size == kStepInputs
             ? launch_token<K, kLevels, kMatrices, Blocks::steps>(args, columns, multiprocessors,
                                                                  stream)
             : launch_token<K, kLevels, kMatrices, Blocks::several_steps>(args, columns,
                                                                          multiprocessors, stream);
}

template <class K>
cudaError_t launch_levels(const QuantizedLinearCudaArgs& args, const QuantizedColumns& columns,
                          int multiprocessors, cudaStream_t stream) {
  const auto launch_as =
      args.weight.matrices == 2
          ? (columns.levels == 1 ? launch_blocks<K, 1, 2> : launch_blocks<K, kMaxLevels, 2>)
          : (columns.levels == 1 ? launch_blocks<K, 1, 1> : launch_blocks<K, kMaxLevels, 1>);
  return launch_as(args, columns, multiprocessors, stream);
}

}  // namespace

bool quantized_token_fits(const QuantizedLinearCudaArgs& args) {
  const auto is_aligned = [](const float* vector) {
    return reinterpret_cast<std::uintptr_t>(vector) % sizeof(float4) == 0;
  };
  return args.tokens == 1 && args.weight.block_size >= kStepInputs && args.weight.inputs % 8 == 0 &&
         is_aligned(args.x) && is_aligned(args.norm.weight) && is_aligned(args.norm.bias);
}

cudaError_t quantized_linear_token(const QuantizedLinearCudaArgs& args,
                                   const QuantizedColumns& columns, int multiprocessors,
                                   cudaStream_t stream) {
  if (args.weight.bits == 8) {
    return launch_levels<Kind<8, false>>(args, columns, multiprocessors, stream);
  }
  return args.weight.minimums
             ? launch_levels<Kind<4, true>>(args, columns, multiprocessors, stream)
             : launch_levels<Kind<4, false>>(args, columns, multiprocessors, stream);
}

}  // namespace kvcache::kernels
