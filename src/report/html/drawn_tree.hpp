// A tree to be drawn: of tokens, or of a search with its visits, values and blocks.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/checked_json.hpp"

namespace kvcache::report::html {

/// What a search knows of a position, and what it cost.
struct SearchedNode {
  std::size_t visits = 0;
  double value = 0;  // the mean, from -1 (Black) to 1 (White)
  double prior = 0;
  std::size_t tokens_computed = 0;
  std::size_t tokens_reused = 0;
  std::size_t blocks_shared = 0;  // with the parent
  std::size_t blocks_own = 0;
  bool end = false;
};

struct DrawnNode {
  std::ptrdiff_t parent = -1;  // an earlier node, or none
  std::string label;           // a token's id, a move
  std::optional<SearchedNode> search;
  std::string place;  // in the JSON
};

struct DrawnTree {
  std::string root_label;        // of the node before all others
  std::vector<DrawnNode> nodes;  // parents first; of a search the first one is the root
  bool of_search = false;
};

/// `{"tokens": [...], "parents": [...]}`, as kvcache eval-tree reads it.
/// @throws Error where a field is not what it must be, or the parents make no tree
DrawnTree read_token_tree(const JsonValue& tree);

/// A line of a search's trace, as examples/trigo writes it (`nodes`).
/// @throws Error where a field is not what it must be, or the parents make no tree
DrawnTree read_search(const JsonValue& search);

/// The children of each node in their order; of a search the most visited first. The last entry
/// has those without a parent.
std::vector<std::vector<std::size_t>> children_of(const DrawnTree& tree);

}  // namespace kvcache::report::html
