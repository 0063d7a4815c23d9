// Which options of sampling there can be.
#pragma once

#include "kvcache/sampler.hpp"

namespace kvcache::decoding {

/// @throws Error invalid_argument naming the first option that is outside its range
void check_options(const SamplingOptions& options);

}  // namespace kvcache::decoding
