// Scratch memory of kernels.
#pragma once

#include <cstdint>

namespace kvcache {

/// A thread that waits for a kernel's tasks does some of them itself: memory that they share is not
/// theirs. A call may have three: its normed tokens, those rounded to int8 or bfloat16, and those
/// that a head has turned.
enum class ScratchUse { task, call, normed, turned };

/// At least `floats` floats of the calling thread's own for this use, aligned for whole vectors;
/// contents are undefined, and the next call on this thread for the same use may return the same
/// memory. Kept from run to run and grown by doubling, so that decoding hardly ever allocates.
/// @throws std::bad_alloc
float* thread_scratch(std::int64_t floats, ScratchUse use = ScratchUse::task);

}  // namespace kvcache
