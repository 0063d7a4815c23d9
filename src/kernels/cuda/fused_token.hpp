// A token of a fused step.
#pragma once

#include <cstdint>

namespace kvcache::kernels {

/// What a step is told of a token, whose row may have others before it in the same step.
struct FusedToken {
  std::int64_t id = 0;
  std::int64_t position = 0;
  std::int32_t past_length = 0;
  std::int32_t append_at = 0;     // the position of its row where its key and value go
  std::int32_t table_at = 0;      // where its row's block table begins
  std::uint32_t sees = 0;         // of the step's tokens, itself included: a bit each
  std::uint32_t logits_rows = 0;  // where its logits go: a bit each
};

}  // namespace kvcache::kernels
