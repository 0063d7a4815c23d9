// The denominators of softmaxes, and some tokens' logits, where the logits are.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/top_logits_cuda.hpp"

namespace kvcache::kernels {

/// A row of logits that is asked for.
struct AskedRow {
  double sum;          // written: Σ exp((logit − largest) / temperature)
  std::int64_t row;    // of the logits
  float largest;       // none that counts is above it; where it is infinite, the sum is of no use
  std::int32_t first;  // of the tokens that are asked for of this row
  std::int32_t count;
};

/// Of some rows of logits [.., vocab_size] without NaN the sums, in double precision and always in
/// the same order, over the tokens that `allowed` has (as for top_k_cuda()), and the logits of
/// `tokens`. Both lists are read and written in memory of the host that the device can reach;
/// temperature above 0.
template <typename T>
cudaError_t exp_sums_cuda(const T* logits, std::int64_t vocab_size, const unsigned* allowed,
                          double temperature, std::int64_t num_rows, AskedRow* rows,
                          TopLogit* tokens, cudaStream_t stream);

}  // namespace kvcache::kernels
