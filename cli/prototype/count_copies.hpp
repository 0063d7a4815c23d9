// What the GPU does for a decoded token, counted by CUPTI.
#pragma once

#include "kvcache_inferencer.hpp"

namespace kvcache::prototype {

/// Whether this build can count: only with -DKVCACHE_BUILD_GPU_BENCH=ON.
bool can_count_copies() noexcept;

/// Prints what crosses the bus, and what the device copies and allocates, for each decoded token.
/// Whether it copied nothing within itself and allocated nothing.
bool count_copies(KVCacheInferencer& inferencer);

}  // namespace kvcache::prototype
