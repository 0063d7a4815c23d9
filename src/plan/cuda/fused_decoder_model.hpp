// Fused steps of models with rotary positions, RMSNorm and gates, such as Llama's and Qwen's.
#pragma once

#include "plan/cuda/fused_model.hpp"

namespace kvcache::plan {

/// A step of one token is a kernel, whatever the sizes.
/// @throws NotFused
template <typename T>
std::shared_ptr<FusedModel> fuse_decoder(const Plan& plan, const CudaWeights& weights,
                                         const StepBinding& binding, int multiprocessors,
                                         cudaStream_t stream);

}  // namespace kvcache::plan
