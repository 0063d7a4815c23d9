// A model in GPT-2's form made ready for runs of many rows as one kernel (fused_rows.cu).
#pragma once

#include <deque>
#include <optional>

#include "kernels/cuda/fused_rows.hpp"
#include "plan/cuda/device_memory.hpp"
#include "plan/cuda/gpt2_nodes.hpp"
#include "plan/cuda/lanes.hpp"
#include "plan/cuda/prepared_step.hpp"
#include "plan/step_binding.hpp"

namespace kvcache::plan {

inline kernels::RowsSizes rows_sizes(const kernels::FusedSizes& sizes) {
  return {sizes.layers, sizes.hidden,     sizes.inner,
          sizes.heads,  sizes.vocab_size, sizes.max_seq_len};
}

/// Whether runs of this shape may be for the kernel: rows of several lengths are looked at when
/// they come.
bool rows_may_take(const StepBinding& binding, const kernels::RowsSizes& sizes);

/// The weights once more, in the order of their use by warps.
template <typename T>
class FusedRowsModel {
 public:
  /// `vectors` is [layers, LayerVectors::elements]. Of a model and device that most_rows_tiles()
  /// has room for.
  /// @throws NotFused
  FusedRowsModel(const StepNodes<T>& nodes, const StepBinding& binding, const T* vectors,
                 int multiprocessors, cudaStream_t stream);

  /// As FusedModel's.
  [[nodiscard]] bool prepare(const StepBinding& inputs, PreparedStep& prepared) const;
  cudaError_t step(const StepBinding& inputs, void* logits, kernels::TopLogit* best,
                   const Lane& lane, const PreparedStep& prepared);

 private:
  int units_at_once_;
  int most_tiles_;
  DeviceMemory weights_;
  kernels::FusedRowsArgs<T> args_;
  std::optional<kernels::ValueHeadCudaArgs<T>> value_;
  std::size_t value_output_ = 0;
  std::deque<DeviceMemory> last_;  // of each lane: what the value head is of
};

}  // namespace kvcache::plan
