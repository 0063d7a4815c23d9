// A tree at a glance (an icicle: a row for each depth), and as a list that unfolds.
#pragma once

#include "report/html/drawn_tree.hpp"
#include "report/html/markup.hpp"

namespace kvcache::report::html {

/// A box for each node under its parent's, as wide as its share of the visits (of a tree of tokens:
/// of the leaves). What would be too narrow to see is left out, and counted below.
Markup draw_icicle(const DrawnTree& tree);

/// Every node with its figures, children folded away beyond the first levels.
Markup draw_list(const DrawnTree& tree);

}  // namespace kvcache::report::html
