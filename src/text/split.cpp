#include "text/split.hpp"

#include <algorithm>

namespace kvcache::text {
namespace {

/// Joins a span to the one before it where `joins(match, match of the span before)`.
template <typename Joins>
void join(std::vector<Span>& spans, Joins joins) {
  std::vector<Span> parts;
  parts.reserve(spans.size());
  bool previous = false;
  for (const Span& span : spans) {
    if (!parts.empty() && joins(span.match, previous)) {
      parts.back().begin = std::min(parts.back().begin, span.begin);
      parts.back().end = std::max(parts.back().end, span.end);
    } else {
      parts.push_back(span);
    }
    previous = span.match;
  }
  spans = std::move(parts);
}

bool is_match_behind_none(bool match, bool previous) { return match && !previous; }

}  // namespace

void merge_spans(std::vector<Span>& spans, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::isolated:
      break;
    case SplitBehavior::removed:
      std::erase_if(spans, [](const Span& span) { return span.match; });
      break;
    case SplitBehavior::contiguous:
      join(spans, [](bool match, bool previous) { return match == previous; });
      break;
    case SplitBehavior::merged_with_previous:
      join(spans, is_match_behind_none);
      break;
    case SplitBehavior::merged_with_next:  // the same, read from the end
      std::ranges::reverse(spans);
      join(spans, is_match_behind_none);
      std::ranges::reverse(spans);
      break;
  }
}

}  // namespace kvcache::text
