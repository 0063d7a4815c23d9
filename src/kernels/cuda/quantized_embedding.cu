// Rows of a quantised table: a thread block per token, eight inputs of 4 bits or four of 8 a
// thread.
#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/quantized_linear_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;

/// What the kernel knows of the table.
struct Table {
  const std::uint8_t* values;
  const __half* scales;
  std::int64_t panel_bytes;
  std::int64_t panel_scales;
  std::int64_t vocab_size;
  int inputs;
  int groups;
  int bits;
  int block_size;
  int scale_rows;
  int zero_point;
};

/// Grid: tokens.
__global__ void __launch_bounds__(kThreads)
    quantized_embedding_kernel(QuantizedEmbeddingCudaArgs args, Table table) {
  constexpr int kPanel = static_cast<int>(kPanelColumns);
  constexpr int kGroup = static_cast<int>(QuantizedWeight::kGroupInputs);
  // As in token_embedding_kernel: the others may start once all before the run has ended.
  wait_for_previous_kernel();
  let_next_kernel_start();
  const std::int64_t id = args.input_ids[blockIdx.x];
  const bool has_place = args.position_weight != nullptr;
  const std::int64_t position = has_place ? args.position_ids[blockIdx.x] : 0;
  const bool exists = id >= 0 && id < table.vocab_size &&
                      (!has_place || (position >= 0 && position < args.max_seq_len));
  float* out = args.out + std::int64_t{blockIdx.x} * table.inputs;
  if (!exists) {
    for (int i = static_cast<int>(threadIdx.x); i < table.inputs; i += kThreads) {
      out[i] = nanf("");
    }
    return;
  }
  const auto column = static_cast<int>(id % kPanel);
  const std::uint8_t* values = table.values + id / kPanel * table.panel_bytes + column * kGroup;
  const __half* scales = table.scales + id / kPanel * table.panel_scales + column;
  const float* place = args.position_weight + position * table.inputs;
  const int per_byte = 8 / table.bits;
  const unsigned mask = (1U << static_cast<unsigned>(table.bits)) - 1;
  for (int group = static_cast<int>(threadIdx.x); group < table.groups; group += kThreads) {
    const unsigned word =
        *reinterpret_cast<const unsigned*>(values + std::int64_t{group} * kPanel * kGroup);
    const int first = group * kGroup * per_byte;
    const __half* of_block = scales + first / table.block_size * table.scale_rows * kPanel;
    const float scale = __half2float(of_block[0]);
    const float minimum = table.scale_rows > 1 ? __half2float(of_block[kPanel]) : 0.0F;
    for (int i = 0; i < kGroup * per_byte; ++i) {
      const int input = first + i;
      if (input < table.inputs) {
        const unsigned bits = word >> static_cast<unsigned>(i % kGroup * 8 + i / kGroup * 4);
        const auto value = static_cast<float>(static_cast<int>(bits & mask) - table.zero_point);
        const float weight = fmaf(value, scale, minimum);
        out[input] = fmaf(args.scale, weight, has_place ? place[input] : 0.0F);
      }
    }
  }
}

}  // namespace

cudaError_t quantized_embedding_cuda(const QuantizedEmbeddingCudaArgs& args, cudaStream_t stream) {
  const QuantizedWeight& weight = args.weight;
  const Table table{weight.values,
                    reinterpret_cast<const __half*>(weight.scales),
                    weight.panel_bytes(),
                    weight.panel_scales(),
                    weight.outputs,
                    static_cast<int>(weight.inputs),
                    static_cast<int>(weight.groups()),
                    static_cast<int>(weight.bits),
                    static_cast<int>(weight.block_size),
                    static_cast<int>(weight.scale_rows()),
                    weight.zero_point()};
  return launch(quantized_embedding_kernel, dim3(static_cast<unsigned>(args.tokens)), kThreads, 0,
                stream, args, table);
}

}  // namespace kvcache::kernels
