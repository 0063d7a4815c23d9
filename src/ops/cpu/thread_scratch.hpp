// Scratch memory of kernels.
#pragma once

#include <cstdint>

namespace kvcache::ops {

/// At least `floats` floats of the calling thread's own, aligned for whole vectors; contents are
/// undefined, and the next call on this thread may return the same memory. Kept from run to run, so
/// that decoding allocates nothing.
/// @throws std::bad_alloc
float* thread_scratch(std::int64_t floats);

}  // namespace kvcache::ops
