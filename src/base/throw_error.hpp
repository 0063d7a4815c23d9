// How the library raises its errors.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "kvcache/error.hpp"

namespace kvcache {

/// Throws Error(code) with a formatted message.
template <typename... Args>
[[noreturn]] void throw_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace kvcache
