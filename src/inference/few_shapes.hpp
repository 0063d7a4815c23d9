// Few shapes of runs, for a device that captures each of them.
#pragma once

#include <cstddef>

#include "inference/run_inputs.hpp"

namespace kvcache::inference {

/// Makes the shapes of trees and of ragged batches, which are hardly ever the same twice, a few
/// that are, by tokens, rows and logits that fill them up. Steps of one token a row and prompts
/// keep their own.
void fill_up(RunShape& shape, std::size_t vocab_size);

}  // namespace kvcache::inference
