// A model made ready for fused steps.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "kernels/cuda/fused_step.hpp"
#include "plan/cuda/recorded_nodes.hpp"

namespace kvcache::plan {

/// Where the run that was recorded has its inputs, in memory of the device.
struct FusedStepPlaces {
  const std::int64_t* input_ids = nullptr;
  const std::int64_t* position_ids = nullptr;
  const std::int32_t* past_lengths = nullptr;
  const std::int32_t* block_table = nullptr;
  std::int64_t blocks_per_row = 0;
};

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

/// Makes the model that the recorded run of one token is a step of, or leaves `model` as it is
/// where it has been made by an earlier call. Null, and `why_not` says why, where the run is no
/// such step, or the device has no room. The recording's weights must outlive the model.
std::shared_ptr<FusedModel> fuse(const NodeRecording& recording, int multiprocessors,
                                 std::shared_ptr<FusedModel> model, cudaStream_t stream,
                                 FusedStepPlaces& places, std::string& why_not);

}  // namespace kvcache::plan
