// Unicode's normal forms.
#pragma once

#include <string>
#include <string_view>

#include "text/normalizer.hpp"

namespace kvcache::text {

/// Writes a normal form of `text`, which is valid UTF-8; returns false, and writes nothing, where
/// that is seen at once to be `text` itself.
/// @throws Error run_failed (ICU failed), invalid_argument (2 GiB and more)
bool normalize(std::string_view text, NormalForm form, std::string& normalized);

}  // namespace kvcache::text
