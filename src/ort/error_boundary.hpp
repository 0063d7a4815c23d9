// What every public function that uses ONNX Runtime ends with, so that only kvcache::Error leaves
// it.
#pragma once

#include "base/error_boundary.hpp"

namespace kvcache {

/// For functions that run the model.
inline constexpr Meaning kRun{"the model was not run", ErrorCode::run_failed,
                              ErrorCode::run_failed};

/// As rethrow_system_as_error(), and memory, a thread or a descriptor that was refused within ONNX
/// Runtime as well.
[[noreturn]] void rethrow_as_error(const Meaning& meaning);

}  // namespace kvcache
