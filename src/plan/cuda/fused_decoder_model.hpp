// Fused steps of models in Llama's form (rotary positions, RMSNorm, gates) and in GPT-2's (a table
// of positions, LayerNorm), of any sizes.
#pragma once

#include "plan/cuda/fused_model.hpp"

namespace kvcache::plan {

/// A step of one token is a kernel, and one of up to four in any mix of sequences, prompts and
/// trees where they fit.
/// @throws NotFused
template <typename T>
std::shared_ptr<FusedModel> fuse_decoder(const Plan& plan, const CudaWeights& weights,
                                         const StepBinding& binding, int multiprocessors,
                                         cudaStream_t stream);

/// Layers in GPT-2's form are few kernels of a captured graph, which is the faster where they are
/// small (docs/CUDA.md).
/// @throws NotFused where they are
template <typename T>
void require_large_layers(const Plan& plan, const CudaWeights& weights);

}  // namespace kvcache::plan
