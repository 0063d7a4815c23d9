// What becomes of the matches where a text is split at them.
#pragma once

#include <vector>

#include "text/pattern.hpp"

namespace kvcache::text {

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Makes parts of a text's spans, in place. `spans` are all of the text, in order; of what is left,
/// `match` says nothing any more.
void merge_spans(std::vector<Span>& spans, SplitBehavior behavior);

}  // namespace kvcache::text
