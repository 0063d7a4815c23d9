// What every function of kvcache.h is made with, so that no exception leaves it.
#pragma once

#include <utility>

#include "c/arguments.hpp"
#include "kvcache.h"

namespace kvcache::c {

/// In a handler: what the exception that is being handled is as a status. Its message becomes the
/// thread's.
kvcache_status report_exception(const char* function) noexcept;

/// Does the work of one function, which is given its call; what it throws becomes its status.
template <typename Work>
kvcache_status guard(const char* function, Work&& work) noexcept {
  try {
    std::forward<Work>(work)(Call(function));
    return KVCACHE_OK;
  } catch (...) {
    return report_exception(function);
  }
}

}  // namespace kvcache::c
