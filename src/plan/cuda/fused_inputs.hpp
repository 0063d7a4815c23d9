// A run's inputs as the fused kernels take them.
#pragma once

#include "kernels/cuda/fused_decoder.hpp"
#include "kernels/cuda/fused_step.hpp"
#include "plan/step_binding.hpp"

namespace kvcache::plan {

/// Whether a run is of the kernel for one token.
bool is_of_one_token(const StepBinding& binding);

/// `inputs` is on the host, and the run no larger than the kernel's limits.
kernels::FusedStepInputs step_inputs(const StepBinding& inputs);
kernels::FusedTokensInputs tokens_inputs(const StepBinding& inputs);
void set_decoder_inputs(const StepBinding& inputs, kernels::DecoderInputs& of_step);

}  // namespace kvcache::plan
