// What every public function ends with, so that only kvcache::Error leaves it.
#pragma once

#include <string_view>

#include "kvcache/error.hpp"

namespace kvcache {

/// What an exception that is not ours means in one public function.
struct Meaning {
  std::string_view what;  // was asked, such as "the model was not loaded"
  ErrorCode file;         // the system could not open or read a file, or find it
  ErrorCode otherwise;    // anything else
};

/// For functions that run the model.
inline constexpr Meaning kRun{"the model was not run", ErrorCode::run_failed,
                              ErrorCode::run_failed};

/// In a handler: throws the exception that is being handled again as an Error. An Error stays as it
/// is, and what is no std::exception passes, for it is the caller's or the end of a thread. Memory
/// that was refused, by the system or within ONNX Runtime, is out_of_memory; a thread or a
/// descriptor is system_refused; the rest is as `meaning` says.
[[noreturn]] void rethrow_as_error(const Meaning& meaning);

}  // namespace kvcache
