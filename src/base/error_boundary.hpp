// What every public function ends with, so that only kvcache::Error leaves it: the part that knows
// nothing of ONNX Runtime.
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

[[noreturn]] void throw_out_of_memory(const Meaning& meaning, std::string_view reason);
[[noreturn]] void throw_refused(const Meaning& meaning, std::string_view reason);

/// In a handler: throws the exception that is being handled again as an Error. An Error stays as it
/// is, and what is no std::exception passes, for it is the caller's or the end of a thread. Memory
/// that the system refused is out_of_memory; a thread or a descriptor is system_refused; the rest
/// is as `meaning` says.
[[noreturn]] void rethrow_system_as_error(const Meaning& meaning);

}  // namespace kvcache
