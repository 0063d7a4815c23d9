// The order in which fused_decoder.cu uses a model's weights, and what LayerNorm makes of them.
#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/fused_decoder.hpp"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

/// A weight as pack_decoder_weight() takes it.
template <typename T>
struct PanelWeight {
  DecoderSizes sizes;
  DecoderProduct product;
  const T* weight;

  [[nodiscard]] __device__ bool gated() const {
    return product == DecoderProduct::expansion && sizes.gated;
  }
  /// Of the product's outputs in the order in which they are packed.
  [[nodiscard]] __device__ T at(int input, int output) const {
    constexpr int kPanel = static_cast<int>(kPanelColumns);
    const int inputs = sizes.inputs(product);
    if (product == DecoderProduct::head) {
      return weight[std::int64_t{output} * inputs + input];
    }
    const int column = gated() ? output / 2 : output;
    const int panel = gated() ? 2 * (column / kPanel) + output % 2 : column / kPanel;
    return weight[(std::int64_t{panel} * inputs + input) * kPanel + column % kPanel];
  }
};

template <typename T>
struct PackArgs {
  PanelWeight<T> from;
  int layer;
  const std::int64_t* stream_at;
  int blocks;
  T* stream;
};

/// Grid: pieces, strips. A thread has eight inputs of a column.
template <typename T>
__global__ void pack_decoder_weight_kernel(const PackArgs<T> args) {
  const DecoderSizes& sizes = args.from.sizes;
  const DecoderProduct product = args.from.product;
  const int piece = static_cast<int>(blockIdx.x);
  const int strip = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x);
  const int block = owner_of(strip, sizes.strips(product), args.blocks);
  const int warp = owner_of(piece, sizes.pieces(product), kDecoderWarps);
  const DecoderStream of_warp{sizes, block, args.blocks, warp};
  const std::int64_t at = args.stream_at[block * kDecoderWarps + warp] +
                          of_warp.place(args.layer, product, strip, piece);
  const int input = piece * kPieceInputs + lane % 4 * 8;
  const int output = strip * kStripColumns + lane / 4;
  T* const to = args.stream + (at * 32 + lane) * 8;
  for (int i = 0; i < 8; ++i) {
    to[i] = output < sizes.outputs(product) ? args.from.at(input + i, output) : from_float<T>(0.0F);
  }
}

template <typename T>
struct NormedColumnsArgs {
  PanelWeight<T> from;
  NormArgs<T> norm;
  const T* bias;
  float4* to;
};

/// Grid: pairs of columns. Inputs are the lanes' in turns; sums are in double precision.
template <typename T>
__global__ void pack_normed_columns_kernel(const NormedColumnsArgs<T> args) {
  const DecoderSizes& sizes = args.from.sizes;
  const int outputs = sizes.outputs(args.from.product);
  const int lane = static_cast<int>(threadIdx.x);
  float mean_weights[2] = {};
  float biases[2] = {};
  for (int i = 0; i < 2; ++i) {
    const int output = 2 * static_cast<int>(blockIdx.x) + i;
    if (output >= outputs) {
      continue;
    }
    double mean_weight = 0;
    double bias = 0;
    for (int input = lane; input < sizes.hidden; input += 32) {
      const double weight = to_float(args.from.at(input, output));
      mean_weight += weight * to_float(args.norm.weight[input]);
      bias += args.norm.bias != nullptr ? weight * to_float(args.norm.bias[input]) : 0.0;
    }
    mean_weight = sum_of_lanes_in_double(mean_weight);
    bias = sum_of_lanes_in_double(bias);
    if (args.bias != nullptr) {
      const int column = args.from.gated() ? output / 2 + output % 2 * sizes.inner : output;
      bias += to_float(args.bias[column]);
    }
    mean_weights[i] = static_cast<float>(mean_weight);
    biases[i] = static_cast<float>(bias);
  }
  if (lane == 0) {
    args.to[blockIdx.x] = {mean_weights[0], mean_weights[1], biases[0], biases[1]};
  }
}

}  // namespace

void decoder_stream_places(const DecoderSizes& sizes, int blocks, std::int64_t* places) {
  std::int64_t at = 0;
  for (int block = 0; block < blocks; ++block) {
    for (int warp = 0; warp < kDecoderWarps; ++warp) {
      *places++ = at;
      at += std::int64_t{DecoderStream{sizes, block, blocks, warp}.chunks()} * kChunkPieces;
    }
  }
  *places = at;
}

template <typename T>
cudaError_t pack_decoder_weight(const DecoderSizes& sizes, int layer, DecoderProduct product,
                                const T* weight, const std::int64_t* stream_at, int blocks,
                                T* stream, cudaStream_t stream_of_device) {
  const dim3 grid(static_cast<unsigned>(sizes.pieces(product)),
                  static_cast<unsigned>(sizes.strips(product)));
  pack_decoder_weight_kernel<<<grid, 32, 0, stream_of_device>>>(
      PackArgs<T>{{sizes, product, weight}, layer, stream_at, blocks, stream});
  return cudaGetLastError();
}

template <typename T>
cudaError_t pack_normed_columns(const DecoderSizes& sizes, DecoderProduct product, const T* weight,
                                const NormArgs<T>& norm, const T* bias, float4* to,
                                cudaStream_t stream) {
  const auto pairs = static_cast<unsigned>(sizes.strips(product) * (kStripColumns / 2));
  pack_normed_columns_kernel<<<pairs, 32, 0, stream>>>(
      NormedColumnsArgs<T>{{sizes, product, weight}, norm, bias, to});
  return cudaGetLastError();
}

template cudaError_t pack_decoder_weight(const DecoderSizes&, int, DecoderProduct, const __half*,
                                         const std::int64_t*, int, __half*, cudaStream_t);
template cudaError_t pack_decoder_weight(const DecoderSizes&, int, DecoderProduct,
                                         const __nv_bfloat16*, const std::int64_t*, int,
                                         __nv_bfloat16*, cudaStream_t);
template cudaError_t pack_normed_columns(const DecoderSizes&, DecoderProduct, const __half*,
                                         const NormArgs<__half>&, const __half*, float4*,
                                         cudaStream_t);
template cudaError_t pack_normed_columns(const DecoderSizes&, DecoderProduct, const __nv_bfloat16*,
                                         const NormArgs<__nv_bfloat16>&, const __nv_bfloat16*,
                                         float4*, cudaStream_t);

}  // namespace kvcache::kernels
