// The library's codes as kvcache.h numbers them.
#pragma once

#include "kvcache.h"
#include "kvcache/error.hpp"

namespace kvcache::c {

kvcache_status to_status(ErrorCode code) noexcept;

}  // namespace kvcache::c
