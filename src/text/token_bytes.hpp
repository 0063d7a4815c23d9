// What one token adds to a text, in bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/decoder.hpp"

namespace kvcache::text {

/// The bytes that a token, which is not skipped, adds to a text that others have begun: what the
/// stages of make_stages() make of it where bytes become no U+FFFD.
/// @throws Error tokenizer_invalid where a step works on fused tokens, so that what one adds
/// depends
///         on the others
std::string bytes_within_a_text(const std::vector<DecoderStep>& steps, std::string_view token);

}  // namespace kvcache::text
