#include "kernels/cuda/growing_tables.hpp"

namespace kvcache::kernels {
namespace {

__global__ void growing_tables_kernel(std::int32_t* block_table, std::int32_t* past_lengths,
                                      std::int64_t rows, std::int32_t past_len) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row < rows) {
    block_table[row] = static_cast<std::int32_t>(row);
    past_lengths[row] = past_len;
  }
}

}  // namespace

cudaError_t growing_tables(std::int32_t* block_table, std::int32_t* past_lengths, std::int64_t rows,
                           std::int32_t past_len, cudaStream_t stream) {
  growing_tables_kernel<<<static_cast<unsigned>((rows + 127) / 128), 128, 0, stream>>>(
      block_table, past_lengths, rows, past_len);
  return cudaGetLastError();
}

}  // namespace kvcache::kernels
