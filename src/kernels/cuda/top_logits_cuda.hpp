// Argmax and top-k where the logits are.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kvcache::kernels {

/// A token and its logit, as the kernels below write them.
struct alignas(8) TopLogit {
  std::int32_t token;
  float logit;
};

/// NaN counts as larger than every number (logit_order.cuh).
///
/// The token with the largest logit of each row of logits [rows, vocab_size], the smallest id when
/// several are equal; `best` [rows] may be memory of the host that the device can write, which sees
/// both members of each change at once.
template <typename T>
cudaError_t argmax_cuda(const T* logits, std::int64_t rows, std::int64_t vocab_size, TopLogit* best,
                        cudaStream_t stream);

/// The `k` largest of one row, in no order, in a few passes over it whatever k is; `chosen` [k] may
/// be memory of the host, too. Of the tokens that `allowed` has, k of them at least: bit i % 32 of
/// word i / 32 is token i; null: all vocab_size.
template <typename T>
cudaError_t top_k_cuda(const T* logits, std::int64_t vocab_size, const unsigned* allowed,
                       std::int64_t k, TopLogit* chosen, cudaStream_t stream);

}  // namespace kvcache::kernels
