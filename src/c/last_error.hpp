// The message of a thread's latest failure.
#pragma once

#include <initializer_list>
#include <string_view>

#include "kvcache.h"

namespace kvcache::c {

/// Keeps the pieces, joined, as the thread's message, in memory that the thread has from its start;
/// what is too long is cut between two characters. Returns `status`.
kvcache_status set_last_error(kvcache_status status,
                              std::initializer_list<std::string_view> pieces) noexcept;

}  // namespace kvcache::c
