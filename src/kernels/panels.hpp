// How packed weights lie in memory: in panels of outputs (docs/MODEL_FILE.md).
#pragma once

#include <cstdint>

#include "base/rounding.hpp"

namespace kvcache::kernels {

/// Outputs of a panel.
inline constexpr std::int64_t kPanelColumns = 64;

constexpr std::int64_t panel_count(std::int64_t outputs) {
  return divide_up(outputs, kPanelColumns);
}

}  // namespace kvcache::kernels
