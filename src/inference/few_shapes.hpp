// Few shapes of runs, for a device that captures each of them.
#pragma once

#include <cstddef>

#include "inference/run_inputs.hpp"

namespace kvcache::inference {

/// Makes a run's shape, hardly ever the same twice, one of few, by tokens, rows and logits that
/// fill it up. Up to eight tokens of one row, or of as many rows, keep their own; so do very large
/// runs, which a recording helps little.
void fill_up(RunShape& shape, std::size_t vocab_size);

}  // namespace kvcache::inference
