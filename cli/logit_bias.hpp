// Tokens and what is added to their logits, as they are given on the command line.
#pragma once

#include <string_view>
#include <vector>

#include "kvcache/sampler.hpp"

namespace kvcache::cli {

/// ID:BIAS,ID:BIAS,…, such as 50256:-inf,198:-2.5. Whether there is such a token, and such a bias,
/// is the Sampler's to say.
/// @throws UsageError naming the first that is no ID:BIAS
std::vector<TokenBias> parse_biases(std::string_view text);

}  // namespace kvcache::cli
