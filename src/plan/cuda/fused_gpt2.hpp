// Fused steps of models in GPT-2's form.
#pragma once

#include "plan/cuda/fused_model.hpp"

namespace kvcache::plan {

/// Whether any of these kernels is for a model.
template <typename T>
bool has_gpt2_kernel(const Plan& plan, const CudaWeights& weights, int multiprocessors);

/// A step of one token is a kernel of its own where there is one for the model's sizes, and so is
/// one of up to eight in any mix of sequences, prompts and trees; others are a kernel for the
/// layers and two for the logits.
/// @throws NotFused
template <typename T>
std::shared_ptr<FusedModel> fuse_gpt2(const Plan& plan, const CudaWeights& weights,
                                      const StepBinding& binding, int multiprocessors,
                                      cudaStream_t stream);

}  // namespace kvcache::plan
