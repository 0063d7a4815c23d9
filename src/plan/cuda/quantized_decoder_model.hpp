// Fused steps of models in Llama's form with weights of 8 and 4 bits.
#pragma once

#include "plan/cuda/fused_model.hpp"

namespace kvcache::plan {

/// A step of one token is a kernel, whatever the sizes, where products round what they multiply
/// with to int8.
/// @throws NotFused
std::shared_ptr<FusedModel> fuse_quantized_decoder(const Plan& plan, const CudaWeights& weights,
                                                   const StepBinding& binding, int multiprocessors,
                                                   cudaStream_t stream);

}  // namespace kvcache::plan
