// Tables for an attention node that is not given any.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kvcache::kernels {

/// block_table[i] = i and past_lengths[i] = past_len, for `rows` rows of one block each.
cudaError_t growing_tables(std::int32_t* block_table, std::int32_t* past_lengths, std::int64_t rows,
                           std::int32_t past_len, cudaStream_t stream);

}  // namespace kvcache::kernels
