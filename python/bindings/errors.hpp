// kvcache::Error as Python's kvcache.Error, and errors of the bindings' own.
#pragma once

#include <fmt/format.h>
#include <nanobind/nanobind.h>

#include <utility>

#include "kvcache/error.hpp"

namespace kvcache::python {

template <typename... Args>
[[noreturn]] void throw_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Python's kvcache.Error, to be raised or returned.
nanobind::object to_python_error(const Error& error);

}  // namespace kvcache::python
