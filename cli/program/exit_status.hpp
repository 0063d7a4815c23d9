// What a program's exit status means.
#pragma once

#include <string>

#include "kvcache/error.hpp"

namespace kvcache::cli {

enum ExitStatus : int {
  kOk = 0,
  kFailed = 1,           // the work failed, or something that must hold did not
  kBadInput = 2,         // bad usage, bad arguments, or a model that cannot be used
  kEndedBySignal = 128,  // and the signal's number: 130 for Ctrl-C
};

constexpr const char* kExitStatusHelp =
    "Exit status: 0 ok; 1 the work failed or a check did not hold; 2 bad usage or bad input;\n"
    "130 interrupted (Ctrl-C), 143 and 129 ended by SIGTERM and SIGHUP. Errors are one line on\n"
    "standard error.";

/// An argument that cannot be honoured.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ErrorCode::invalid_argument, message) {}
};

/// Whether the caller's input or the machine is to blame.
ExitStatus exit_status(ErrorCode code) noexcept;

}  // namespace kvcache::cli
