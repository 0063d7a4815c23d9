#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html/axis.hpp"
#include "report/html/figure.hpp"
#include "report/html/tree_drawing.hpp"

namespace kvcache::report::html {
namespace {

constexpr std::size_t kOpenLevels = 2;
constexpr std::size_t kDeepestIndented = 16;  // what is deeper stands below it, not further right
constexpr std::size_t kMostSquares = 12;      // of the blocks; more are a number alone

/// A field of a node's as the JSON has it.
Markup figure_of(const DrawnNode& node, const char* field, double value, Unit unit) {
  return show(Figure{value, unit, fmt::format("{}.{}", node.place, field), {}});
}

/// A square for each block: filled where it is the parent's too.
Markup blocks_of(const DrawnNode& node) {
  const SearchedNode& search = *node.search;
  Markup squares;
  if (search.blocks_shared + search.blocks_own <= kMostSquares) {
    for (std::size_t i = 0; i < search.blocks_shared + search.blocks_own; ++i) {
      squares += element("i", {{"class", i < search.blocks_shared ? "shared" : "own"}});
    }
  }
  const std::string words = fmt::format("{} blocks shared with the parent, {} own",
                                        search.blocks_shared, search.blocks_own);
  return element(
      "span", {{"class", "blocks"}, {"title", words}},
      element("span", {{"aria-hidden", "true"}}, squares) +
          figure_of(node, "blocks[0]", static_cast<double>(search.blocks_shared), Unit::count) +
          text(" + ") +
          figure_of(node, "blocks[1]", static_cast<double>(search.blocks_own), Unit::count));
}

Markup figures_of(const DrawnNode& node, std::size_t most_visits) {
  if (!node.search) {
    return {};
  }
  const SearchedNode& search = *node.search;
  const auto visits = static_cast<double>(search.visits);
  const double share = visits / std::max(1.0, static_cast<double>(most_visits));
  const double side = search.value / 2;  // of the middle
  return element("span", {{"class", "visits"}},
                 element("svg", {{"class", "meter"}, {"aria-hidden", "true"}},
                         element("rect", {{"class", "bar s1"},
                                          {"width", percent(share)},
                                          {"height", "100%"}})) +
                     figure_of(node, "visits", visits, Unit::count)) +
         element("span", {{"class", "value"}},
                 element("svg", {{"class", "meter"}, {"aria-hidden", "true"}},
                         element("rect", {{"class", side < 0 ? "cell black" : "cell white"},
                                          {"style", "--v:100%"},
                                          {"x", percent(side < 0 ? 0.5 + side : 0.5)},
                                          {"width", percent(std::abs(side))},
                                          {"height", "100%"}}) +
                             element("line", {{"class", "grid base"},
                                              {"x1", "50%"},
                                              {"x2", "50%"},
                                              {"y1", "0"},
                                              {"y2", "100%"}})) +
                     figure_of(node, "value", search.value, Unit::number)) +
         element("span", {{"class", "prior"}},
                 figure_of(node, "prior", search.prior, Unit::number)) +
         blocks_of(node) +
         element("span", {{"class", "tokens"}},
                 figure_of(node, "tokens_computed", static_cast<double>(search.tokens_computed),
                           Unit::count) +
                     text(" of ") +
                     show(derived_figure(
                         static_cast<double>(search.tokens_computed + search.tokens_reused),
                         Unit::count, "tokens_computed + tokens_reused")));
}

/// Writes nodes and folds; the deepest are written without recursion, as a chain may be long.
class TreeList {
 public:
  explicit TreeList(const DrawnTree& tree) : tree_(tree), children_(children_of(tree)) {
    for (const std::size_t root : children_.back()) {
      if (tree.nodes[root].search) {
        most_visits_ = std::max(most_visits_, tree.nodes[root].search->visits);
      }
    }
  }

  [[nodiscard]] Markup to_markup() const { return level(children_.back(), 0); }

 private:
  [[nodiscard]] Markup row(std::size_t number, std::size_t depth) const {
    const DrawnNode& node = tree_.nodes[number];
    const bool end = node.search && node.search->end;
    return element("span",
                   {{"class", "label"},
                    {"style", fmt::format("--depth:{}", depth)},
                    {"title", node.label}},
                   text(node.label.empty() ? "root" : node.label) +
                       (end ? element("small", " end") : Markup())) +
           figures_of(node, most_visits_);
  }

  [[nodiscard]] Markup level(const std::vector<std::size_t>& nodes, std::size_t depth) const {
    Markup rows;
    for (const std::size_t node : nodes) {
      rows += depth < kDeepestIndented ? foldable(node, depth) : flat(node, depth);
    }
    return element("ul", rows);
  }

  [[nodiscard]] Markup foldable(std::size_t node, std::size_t depth) const {
    if (children_[node].empty()) {
      return element("li", {{"class", "row"}}, row(node, depth));
    }
    Attributes attributes;
    if (depth < kOpenLevels) {
      attributes.push_back({"open", ""});
    }
    return element("li", element("details", attributes,
                                 element("summary", {{"class", "row"}}, row(node, depth)) +
                                     level(children_[node], depth + 1)));
  }

  /// A node and all below it, one after the other.
  [[nodiscard]] Markup flat(std::size_t first, std::size_t depth) const {
    Markup rows;
    std::vector<std::size_t> pending{first};
    while (!pending.empty()) {
      const std::size_t node = pending.back();
      pending.pop_back();
      rows += element("li", {{"class", "row"}}, row(node, depth));
      pending.insert(pending.end(), children_[node].rbegin(), children_[node].rend());
    }
    return rows;
  }

  const DrawnTree& tree_;
  std::vector<std::vector<std::size_t>> children_;
  std::size_t most_visits_ = 0;
};

}  // namespace

Markup draw_list(const DrawnTree& tree) {
  Markup head;
  if (tree.of_search) {
    head = element("li", {{"class", "row head"}, {"aria-hidden", "true"}},
                   element("span", {{"class", "label"}, {"style", "--depth:0"}}, text("move")) +
                       element("span", {{"class", "visits"}}, text("visits")) +
                       element("span", {{"class", "value"}}, text("value")) +
                       element("span", {{"class", "prior"}}, text("prior")) +
                       element("span", {{"class", "blocks"}}, text("blocks: shared + own")) +
                       element("span", {{"class", "tokens"}}, text("computed")));
    head = element("ul", head);
  }
  return element("div",
                 {{"class", "scroll tree"},
                  {"role", "region"},
                  {"tabindex", "0"},
                  {"aria-label", "every node"}},
                 element("div", {{"class", tree.of_search ? "searched" : "plain"}},
                         head + TreeList(tree).to_markup()));
}

}  // namespace kvcache::report::html
