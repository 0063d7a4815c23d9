#include "report/html/drawn_tree.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace kvcache::report::html {
namespace {

constexpr std::size_t kMostVisits = std::size_t{1} << 50U;

std::ptrdiff_t parent_of(const JsonValue& parent, std::size_t node) {
  return static_cast<std::ptrdiff_t>(
      parent.integer(-1, static_cast<std::int64_t>(node) - 1));  // parents first
}

SearchedNode searched(const JsonValue& node) {
  const std::vector<JsonValue> blocks = node.field("blocks").elements();
  if (blocks.size() != 2) {
    node.field("blocks").refuse("must be two numbers: shared with the parent, own");
  }
  return {.visits = node.field("visits").size(0, kMostVisits),
          .value = node.field("value").number(-1, 1),
          .prior = node.field("prior").number(0, 1),
          .tokens_computed = node.field("tokens_computed").size(0, kMostVisits),
          .tokens_reused = node.field("tokens_reused").size(0, kMostVisits),
          .blocks_shared = blocks[0].size(0, kMostVisits),
          .blocks_own = blocks[1].size(0, kMostVisits),
          .end = node.field("end").flag()};
}

}  // namespace

DrawnTree read_token_tree(const JsonValue& tree) {
  DrawnTree drawn{.root_label = "the prefix", .nodes = {}, .of_search = false};
  const std::vector<JsonValue> tokens = tree.field("tokens").elements();
  const std::vector<JsonValue> parents = tree.field("parents").elements();
  if (tokens.size() != parents.size()) {
    tree.field("parents").refuse(
        fmt::format("must have one parent for each of the {} tokens", tokens.size()));
  }
  if (tokens.empty()) {
    tree.field("tokens").refuse("must hold at least one token");
  }
  for (std::size_t node = 0; node < tokens.size(); ++node) {
    const std::int64_t token = tokens[node].integer(INT64_MIN, INT64_MAX);
    drawn.nodes.push_back(
        {parent_of(parents[node], node), std::to_string(token), {}, tokens[node].place()});
  }
  return drawn;
}

DrawnTree read_search(const JsonValue& search) {
  DrawnTree drawn{.root_label = "the position", .nodes = {}, .of_search = true};
  const JsonValue nodes = search.field("nodes");
  for (const JsonValue& node : nodes.elements()) {
    const std::ptrdiff_t parent = parent_of(node.field("parent"), drawn.nodes.size());
    if ((parent < 0) != drawn.nodes.empty()) {
      node.field("parent").refuse("must be an earlier node, and -1 of the first one alone");
    }
    drawn.nodes.push_back({parent, node.field("move").text(), searched(node), node.place()});
  }
  if (drawn.nodes.empty()) {
    nodes.refuse("must hold at least the root");
  }
  return drawn;
}

std::vector<std::vector<std::size_t>> children_of(const DrawnTree& tree) {
  std::vector<std::vector<std::size_t>> children(tree.nodes.size() + 1);
  for (std::size_t node = 0; node < tree.nodes.size(); ++node) {
    const std::ptrdiff_t parent = tree.nodes[node].parent;
    children[parent < 0 ? tree.nodes.size() : static_cast<std::size_t>(parent)].push_back(node);
  }
  if (tree.of_search) {
    for (auto& of_node : children) {
      std::ranges::stable_sort(of_node, std::ranges::greater(),
                               [&](std::size_t node) { return tree.nodes[node].search->visits; });
    }
  }
  return children;
}

}  // namespace kvcache::report::html
