#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html/axis.hpp"
#include "report/html/figure.hpp"
#include "report/html/tree_drawing.hpp"

namespace kvcache::report::html {
namespace {

constexpr double kNarrowest = 0.0015;  // of the drawing: about a pixel
constexpr double kWordsFit = 0.06;     // of the drawing: a few letters, on a phone too
constexpr int kRowHeight = 26;
constexpr std::size_t kMostRows = 24;

/// What a node's box is as wide as: visits, or leaves below it.
std::vector<double> weights_of(const DrawnTree& tree,
                               const std::vector<std::vector<std::size_t>>& children) {
  std::vector<double> weights(tree.nodes.size(), 0);
  for (std::size_t node = tree.nodes.size(); node-- > 0;) {  // children before parents
    if (tree.of_search) {
      weights[node] = static_cast<double>(tree.nodes[node].search->visits);
    } else if (children[node].empty()) {
      weights[node] = 1;
    } else {
      for (const std::size_t child : children[node]) {
        weights[node] += weights[child];
      }
    }
  }
  return weights;
}

std::string described(const DrawnNode& node, double weight) {
  if (!node.search) {
    return fmt::format("token {}, {:.0f} leaves", node.label, weight);
  }
  const SearchedNode& search = *node.search;
  return fmt::format("{}: {} visits, value {:.3f}, prior {:.3f}, blocks {} shared and {} own{}",
                     node.label.empty() ? "root" : node.label, search.visits, search.value,
                     search.prior, search.blocks_shared, search.blocks_own,
                     search.end ? ", an end of the game" : "");
}

/// The colour of a value: whose side it is on, and how strongly.
Attributes colour_of(const DrawnNode& node) {
  if (!node.search) {
    return {{"class", "cell"}};
  }
  const double value = node.search->value;
  return {{"class", value < 0 ? "cell black" : "cell white"},
          {"style", fmt::format("--v:{:.0f}%", 8 + 36 * std::abs(value))}};
}

class Icicle {
 public:
  explicit Icicle(const DrawnTree& tree)
      : tree_(tree), children_(children_of(tree)), weights_(weights_of(tree, children_)) {
    double all = 0;
    for (const std::size_t root : children_.back()) {
      all += weights_[root];
    }
    double left = 0;
    for (const std::size_t root : children_.back()) {
      const double width = weights_[root] / std::max(all, 1.0);
      pending_.push_back({root, 0, left, width});
      left += width;
    }
    // No recursion: a chain may be as long as a text.
    while (!pending_.empty()) {
      const Box box = pending_.back();
      pending_.pop_back();
      draw(box);
    }
  }

  [[nodiscard]] Markup to_markup() const {
    const std::size_t left_out = tree_.nodes.size() - drawn_;
    const Markup caption =
        text(tree_.of_search ? "The search at a glance" : "The tree at a glance") +
        element("small",
                fmt::format("{}{}",
                            tree_.of_search
                                ? "a row for each move ahead; as wide as its share of the visits; "
                                  "the colour is the value"
                                : "a row for each depth; as wide as its share of the leaves",
                            left_out == 0 ? ""
                                          : fmt::format("; {} nodes too narrow or too deep to be "
                                                        "drawn are in the list below",
                                                        left_out)));
    Markup legend;
    if (tree_.of_search) {
      legend = element("ul", {{"class", "legend"}},
                       element("li", swatch("cell white") + text("better for White (to 1)")) +
                           element("li", swatch("cell black") + text("better for Black (to -1)")));
    }
    return element("figure", {{"class", "icicle"}, {"id", "icicle"}},
                   element("figcaption", caption) + legend +
                       element("svg",
                               {{"role", "group"},
                                {"aria-label", "the tree, a row for each depth"},
                                {"width", "100%"},
                                {"height", std::to_string((deepest_ + 1) * kRowHeight)}},
                               cells_));
  }

 private:
  struct Box {
    std::size_t node;
    std::size_t row;
    double left;
    double width;
  };

  static Markup swatch(const char* kind) {
    return element(
        "svg", {{"width", "14"}, {"height", "14"}, {"aria-hidden", "true"}},
        element("rect",
                {{"class", kind}, {"style", "--v:44%"}, {"width", "14"}, {"height", "14"}}));
  }

  void draw(const Box& box) {
    if (box.width < kNarrowest || box.row >= kMostRows) {
      return;
    }
    ++drawn_;
    deepest_ = std::max(deepest_, box.row);
    const DrawnNode& node = tree_.nodes[box.node];
    const std::string words = described(node, weights_[box.node]);
    Attributes attributes = colour_of(node);
    attributes.insert(attributes.end(), {{"x", percent(box.left)},
                                         {"y", std::to_string(box.row * kRowHeight)},
                                         {"width", percent(box.width)},
                                         {"height", std::to_string(kRowHeight - 2)}});
    Markup label;
    if (box.width >= kWordsFit) {
      label = element("svg",
                      {{"x", percent(box.left)},
                       {"y", std::to_string(box.row * kRowHeight)},
                       {"width", percent(box.width)},
                       {"height", std::to_string(kRowHeight - 2)},
                       {"aria-hidden", "true"}},
                      element("text", {{"x", "5"}, {"y", "16"}},
                              text(node.label.empty() ? "root" : node.label)));
    }
    cells_ += element("g",
                      {{"data-node", std::to_string(box.node)},
                       {"data-json", node.place},
                       {"data-weight", exact(weights_[box.node])},
                       {"role", "img"},
                       {"aria-label", words}},
                      element("title", words) + element("rect", attributes) + label);
    double left = box.left;
    const double scale = box.width / std::max(weights_[box.node], 1.0);
    for (const std::size_t child : children_[box.node]) {
      const double width = weights_[child] * scale;
      pending_.push_back({child, box.row + 1, left, width});
      left += width;
    }
  }

  const DrawnTree& tree_;
  std::vector<std::vector<std::size_t>> children_;
  std::vector<double> weights_;
  std::vector<Box> pending_;
  Markup cells_;
  std::size_t drawn_ = 0;
  std::size_t deepest_ = 0;
};

}  // namespace

Markup draw_icicle(const DrawnTree& tree) { return Icicle(tree).to_markup(); }

}  // namespace kvcache::report::html
