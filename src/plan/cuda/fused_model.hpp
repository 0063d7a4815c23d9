// A model made ready for fused steps.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "kernels/cuda/fused_step.hpp"
#include "plan/cuda/cuda_weights.hpp"
#include "plan/plan.hpp"
#include "plan/step_binding.hpp"

namespace kvcache::plan {

/// The layers' weights once more, in the order of their use, and the memory through which the
/// blocks of a step talk. Steps of one model follow each other on one stream.
class FusedModel {
 public:
  FusedModel() = default;
  FusedModel(const FusedModel&) = delete;
  FusedModel& operator=(const FusedModel&) = delete;
  virtual ~FusedModel() = default;

  /// Puts a step into the stream. `best` may be memory of the host, which sees both of its members
  /// change at once, when the step is through but for ending.
  virtual cudaError_t step(const kernels::FusedStepInputs& inputs, void* logits,
                           kernels::TopLogit* best, cudaStream_t stream) = 0;
};

/// Makes the model that a run over `binding` is a step of, or leaves `model` as it is where it has
/// been made by an earlier call. Null, and `why_not` says why, where the run is no step of one
/// token, the model none that the kernel knows, or the device has no room. What the weights point
/// to must outlive the model.
std::shared_ptr<FusedModel> fuse(const Plan& plan, const CudaWeights& weights,
                                 const StepBinding& binding, int multiprocessors,
                                 std::shared_ptr<FusedModel> model, cudaStream_t stream,
                                 std::string& why_not);

}  // namespace kvcache::plan
