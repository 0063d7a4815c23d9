// The output of a model with a value head.
#pragma once

#include <algorithm>
#include <string_view>

#include "base/throw_error.hpp"
#include "kvcache/types.hpp"

namespace kvcache::policy {

inline constexpr std::string_view kValueOutput = "value";

inline bool has_value_output(const ModelInfo& info) noexcept {
  return std::ranges::any_of(info.outputs, [](const OutputInfo& output) {
    return output.name == kValueOutput && output.size == 1;
  });
}

inline void require_value_output(const ModelInfo& info) {
  if (!has_value_output(info)) {
    throw_error(ErrorCode::invalid_argument,
                "the model has no output \"value\" of one number a token; export a checkpoint with "
                "a value head");
  }
}

}  // namespace kvcache::policy
