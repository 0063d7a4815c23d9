// What main() does around the work of a program.
#pragma once

#include <functional>
#include <string_view>

#include "program/exit_status.hpp"

namespace kvcache::cli {

/// One line on standard error, whatever the message: those of ONNX Runtime may have several.
/// Returns `status`.
ExitStatus report_error(std::string_view message, ExitStatus status) noexcept;

/// Runs `work` and returns its exit status. What it throws, a signal that asks the program to end,
/// and output that did not arrive (such as on a full disk) become a line on standard error and a
/// status; whatever the standard descriptors are, closed ones included.
int run_program(const std::function<int()>& work) noexcept;

}  // namespace kvcache::cli
