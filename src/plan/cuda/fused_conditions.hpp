// What every fused step asks of a plan, its weights and a run.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <variant>

#include "plan/cuda/cuda_weights.hpp"
#include "plan/cuda/not_fused.hpp"
#include "plan/plan.hpp"
#include "plan/step_binding.hpp"

namespace kvcache::plan {

/// What a node told, or null where it told nothing or something else.
template <typename Args>
const Args* told(const CudaWeights& weights, const std::string& node) {
  const auto found = weights.nodes.find(node);
  return found == weights.nodes.end() ? nullptr : std::get_if<Args>(&found->second);
}

/// @throws NotFused where an operation is an output beside the logits, but for a value's where that
/// is taken
inline void require_no_output(const Operation& operation, bool takes_value = false) {
  require(!std::holds_alternative<Normalize>(operation.what) &&
              (takes_value || !std::holds_alternative<Value>(operation.what)) &&
              !std::holds_alternative<Compute>(operation.what),
          "it has outputs beside the logits");
}

/// @throws NotFused where a run has no cache, or blocks that the kernels cannot divide by
inline void require_cache(const StepBinding& binding) {
  require(binding.block_table != nullptr, "it has no cache");
  const auto block_len = static_cast<std::uint64_t>(binding.block_len);
  require(std::has_single_bit(block_len) && block_len >= 8,
          "block_len is no power of two, or under 8");
}

/// block_len as a power of two, of a run that require_cache() has let through.
inline int block_len_shift(const StepBinding& binding) {
  return std::countr_zero(static_cast<std::uint64_t>(binding.block_len));
}

}  // namespace kvcache::plan
