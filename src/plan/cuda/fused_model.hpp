// A model made ready for fused steps.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/fused_step.hpp"
#include "plan/cuda/cuda_weights.hpp"
#include "plan/cuda/lanes.hpp"
#include "plan/cuda/prepared_step.hpp"
#include "plan/plan.hpp"
#include "plan/step_binding.hpp"

namespace kvcache::plan {

/// Tokens of a run that any kernel takes.
inline constexpr int kMostFusedTokens = 4096;

/// A NaN of 16 bits that no arithmetic makes.
inline constexpr std::uint16_t kNotYet16 = 0xFFFF;

/// The layers' weights once more, in the order of their use, and the memory through which the
/// blocks of a step talk. Steps follow each other on the model's stream, but for those that
/// is_independent() says otherwise of.
class FusedModel {
 public:
  FusedModel() = default;
  FusedModel(const FusedModel&) = delete;
  FusedModel& operator=(const FusedModel&) = delete;
  virtual ~FusedModel() = default;

  /// Makes ready what step() then finds in `prepared`, by any thread at any time. `inputs` is a
  /// binding that check() takes, but with inputs that the host can read. False where what they say
  /// is more than the kernels take, or there is no memory.
  [[nodiscard]] virtual bool prepare(const StepBinding& /*inputs*/,
                                     PreparedStep& /*prepared*/) const {
    return true;
  }

  /// Puts a step into the stream, whose inputs were given to prepare(); `prepared` stays as it is
  /// until the step's end. `logits` [num_logits, vocab_size]; `best` [num_logits] may be memory of
  /// the host, which sees both members of each change at once, when the row's step is through but
  /// for ending.
  virtual cudaError_t step(const StepBinding& inputs, void* logits, kernels::TopLogit* best,
                           const Lane& lane, const PreparedStep& prepared) = 0;

  /// Whether a step over a binding that check() takes may be put into any lane. It then writes
  /// host_logits and host_outputs too, where they are not null: a row of logits before its best
  /// token, and elements of outputs at once, which are kNotYet16 until then. Whoever has seen all
  /// of these may read and write what the step has written and read.
  [[nodiscard]] virtual bool is_independent(const StepBinding& /*binding*/) const { return false; }

  /// Whether step() takes a run over such a binding.
  /// @throws NotFused where not, which says why
  virtual void check(const StepBinding& binding) const = 0;

  /// How many tokens of a step each of the kernels takes at most, 0 where the model has none:
  /// that for one, that for a few, and that for many rows, which is for `fewest_of_rows` at least.
  struct MostTokens {
    int one = 0;
    int few = 0;
    int rows = 0;
    int fewest_of_rows = 0;
  };
  [[nodiscard]] virtual MostTokens most_tokens() const noexcept = 0;
};

/// Makes the model that a run over `binding` is a step of, or leaves `model` as it is where it has
/// been made by an earlier call. Null, and `why_not` says why, where the run is no such step, the
/// model none that the kernels know, or the device has no room. What the weights point to must
/// outlive the model.
std::shared_ptr<FusedModel> fuse(const Plan& plan, const CudaWeights& weights,
                                 const StepBinding& binding, int multiprocessors,
                                 std::shared_ptr<FusedModel> model, cudaStream_t stream,
                                 std::string& why_not);

}  // namespace kvcache::plan
