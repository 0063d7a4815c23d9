// The order in which quantized_decoder.cu uses a model's weights.
#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/quantized_decoder.hpp"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kPanel = static_cast<int>(kPanelColumns);

struct PackArgs {
  QuantizedDecoderSizes sizes;
  int layer;
  DecoderProduct product;
  QuantizedWeight weight;
  const std::int64_t* stream_at;
  int blocks;
  unsigned char* stream;
};

/// Grid: pieces, strips. A lane has eight inputs of a column, as the file has them.
__global__ void pack_quantized_decoder_weight_kernel(const PackArgs args) {
  const QuantizedDecoderSizes& sizes = args.sizes;
  const QuantizedKind& kind = sizes.kind(args.product);
  const auto piece = static_cast<int>(blockIdx.x);
  const auto strip = static_cast<int>(blockIdx.y);
  const auto lane = static_cast<int>(threadIdx.x);
  const int together = sizes.strips_together(args.product, args.blocks);
  const int block =
      owner_of(strip / together, divide_up(sizes.strips(args.product), together), args.blocks);
  const int warp = owner_of(piece / kind.block_pieces,
                            sizes.pieces(args.product) / kind.block_pieces, kDecoderWarps);
  const QuantizedDecoderStream of_warp{sizes, block, args.blocks, warp};
  const QuantizedDecoderStream::Place to = of_warp.place(args.layer, args.product, strip, piece);
  unsigned char* const stream = args.stream + args.stream_at[block * kDecoderWarps + warp];
  // Where an output lies among the file's panels.
  const auto panel_and_column = [&](int output) {
    const bool gated = args.weight.matrices == 2;
    const int column = gated ? output / 2 : output;
    return int2{gated ? 2 * (column / kPanel) + output % 2 : column / kPanel, column % kPanel};
  };
  const int2 place = panel_and_column(strip * kStripColumns + lane / 4);
  const int words = kind.bits / 4;  // of eight inputs
  for (int i = 0; i < words; ++i) {
    const int row = (piece * 4 + lane % 4) * words + i;
    reinterpret_cast<unsigned*>(
        stream + to.values)[word_of_pair(kind.bits, to.piece, lane, strip % kStripsTogether, i)] =
        *reinterpret_cast<const unsigned*>(args.weight.values +
                                           place.x * args.weight.panel_bytes() +
                                           (std::int64_t{row} * kPanel + place.y) * 4);
  }
  const int rows = kind.minimums ? 2 : 1;
  if (lane < kStripColumns * rows) {
    const int2 of_scale = panel_and_column(strip * kStripColumns + lane % kStripColumns);
    const int row = piece / kind.block_pieces * rows + lane / kStripColumns;
    reinterpret_cast<__half*>(stream + to.scales)[lane * to.pieces + to.piece] =
        reinterpret_cast<const __half*>(
            args.weight.scales)[of_scale.x * args.weight.panel_scales() +
                                std::int64_t{row} * kPanel + of_scale.y];
  }
}

}  // namespace

void quantized_decoder_stream_places(const QuantizedDecoderSizes& sizes, int blocks,
                                     std::int64_t* places) {
  std::int64_t at = 0;
  for (int block = 0; block < blocks; ++block) {
    for (int warp = 0; warp < kDecoderWarps; ++warp) {
      *places++ = at;
      constexpr std::int64_t kLine = 128;
      at += round_up(QuantizedDecoderStream{sizes, block, blocks, warp}.bytes(), kLine);
    }
  }
  *places = at;
}

cudaError_t pack_quantized_decoder_weight(const QuantizedDecoderSizes& sizes, int layer,
                                          DecoderProduct product, const QuantizedWeight& weight,
                                          const std::int64_t* stream_at, int blocks,
                                          unsigned char* stream, cudaStream_t stream_of_device) {
  const dim3 grid(static_cast<unsigned>(sizes.pieces(product)),
                  static_cast<unsigned>(sizes.strips(product)));
  pack_quantized_decoder_weight_kernel<<<grid, 32, 0, stream_of_device>>>(
      PackArgs{sizes, layer, product, weight, stream_at, blocks, stream});
  return cudaGetLastError();
}

}  // namespace kvcache::kernels
