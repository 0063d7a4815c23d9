// The denominator of a softmax where the logits are.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kvcache::kernels {

/// *sum = Σ exp((logits[i] − largest) / temperature) of one row, in double precision and always in
/// the same order; no NaN, `largest` finite and none above it, temperature above 0. `sum` may be
/// memory of the host that the device can write.
template <typename T>
cudaError_t exp_sum_cuda(const T* logits, std::int64_t vocab_size, float largest,
                         double temperature, double* sum, cudaStream_t stream);

}  // namespace kvcache::kernels
