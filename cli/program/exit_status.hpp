// What the program's exit status means.
#pragma once

#include <stdexcept>
#include <string>

#include "kvcache/error.hpp"

namespace kvcache::cli {

enum ExitStatus : int {
  kOk = 0,
  kFailed = 1,         // the work failed, or something that must hold did not
  kBadInput = 2,       // bad usage, bad arguments, or a model that cannot be used
  kInterrupted = 130,  // Ctrl-C
};

constexpr const char* kExitStatusHelp =
    "Exit status: 0 ok; 1 the work failed or a check did not hold; 2 bad usage or bad input;\n"
    "130 interrupted (Ctrl-C). Errors are one line on standard error.";

/// An argument that cannot be honoured.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Whether the caller's input or the machine is to blame.
ExitStatus exit_status(ErrorCode code) noexcept;

}  // namespace kvcache::cli
