#include "report/html/tree_page.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "report/html/drawn_tree.hpp"
#include "report/html/figure.hpp"
#include "report/html/page.hpp"
#include "report/html/table.hpp"
#include "report/html/tree_drawing.hpp"

namespace kvcache::report::html {
namespace {

std::size_t depth_of(const DrawnTree& tree) {
  std::vector<std::size_t> depths;
  std::size_t deepest = 0;
  for (const DrawnNode& node : tree.nodes) {
    depths.push_back(node.parent < 0 ? 1 : depths[static_cast<std::size_t>(node.parent)] + 1);
    deepest = std::max(deepest, depths.back());
  }
  return deepest;
}

Markup card(const Figure& figure, const std::string& what) {
  return element("li", show(figure) + element("span", what));
}

Markup count_card(std::size_t value, const char* how, const std::string& what) {
  return card(derived_figure(static_cast<double>(value), Unit::count, how), what);
}

Markup cards_of_search(const JsonValue& search, const DrawnTree& tree) {
  std::size_t shared = 0;
  std::size_t own = 0;
  std::size_t reused = 0;
  std::size_t computed = 0;
  for (const DrawnNode& node : tree.nodes) {
    shared += node.search->blocks_shared;
    own += node.search->blocks_own;
    reused += node.search->tokens_reused;
    computed += node.search->tokens_computed;
  }
  const auto tokens = static_cast<double>(std::max<std::size_t>(1, reused + computed));
  return element(
      "ul", {{"class", "cards"}},
      card(figure(search, "simulations", Unit::count), "visits of the root's moves") +
          count_card(tree.nodes.size(), "nodes", "nodes") +
          card(figure(search.field("nodes").elements().front(), "value", Unit::number),
               "value of the position, for White") +
          card(derived_figure(static_cast<double>(reused) / tokens, Unit::share,
                              "tokens_reused ÷ all"),
               "of the tokens came from the cache") +
          card(derived_figure(static_cast<double>(shared) /
                                  static_cast<double>(std::max<std::size_t>(1, shared + own)),
                              Unit::share, "blocks shared ÷ all"),
               "of the blocks are shared with a parent"));
}

Section searches_section(const std::vector<JsonValue>& searches, std::size_t chosen) {
  FigureTable table("Draw another one with --search",
                    {"Search", "Game", "Moves before", "Chosen", "Simulations", "Time"});
  for (std::size_t i = 0; i < searches.size(); ++i) {
    const JsonValue& search = searches[i];
    const std::string number = fmt::format("{}{}", i + 1, i == chosen ? ", drawn here" : "");
    table.add_row({text(number), show(figure(search, "game", Unit::count)),
                   show(figure(search, "ply", Unit::count)), text(search.field("chosen").text()),
                   show(figure(search, "simulations", Unit::count)),
                   show(figure(search, "ms", Unit::milliseconds))});
  }
  return {"searches", "The searches of this trace", table.to_markup()};
}

}  // namespace

std::string token_tree_page(const std::string& name, const JsonValue& json) {
  const DrawnTree tree = read_token_tree(json);
  const auto children = children_of(tree);
  const auto leaves = static_cast<std::size_t>(std::count_if(
      children.begin(), children.end() - 1, [](const auto& of_node) { return of_node.empty(); }));
  Page page;
  page.title = name;
  page.subtitle = "A tree of continuations of a prefix, as kvcache eval-tree reads it";
  page.lead = element(
      "ul", {{"class", "cards"}},
      count_card(tree.nodes.size(), "nodes", "nodes") + count_card(leaves, "leaves", "leaves") +
          count_card(depth_of(tree), "depth", "tokens deep") +
          count_card(children.back().size(), "after the prefix", "follow the prefix at once"));
  page.sections.push_back({"tree", "The tree", draw_icicle(tree)});
  page.sections.push_back({"nodes", "Every node", draw_list(tree)});
  return to_document(page);
}

std::string search_page(const std::string& name, const std::vector<JsonValue>& searches,
                        std::size_t chosen) {
  const JsonValue& search = searches.at(chosen);
  const DrawnTree tree = read_search(search);
  Page page;
  page.title = fmt::format("{}, search {} of {}", name, chosen + 1, searches.size());
  page.subtitle = fmt::format(
      "Game {}, move {}; {} was chosen", search.field("game").size(0, std::size_t{1} << 50U),
      search.field("ply").size(0, std::size_t{1} << 50U) + 1, search.field("chosen").text());
  page.lead = cards_of_search(search, tree);
  page.sections.push_back({"tree", "The search", draw_icicle(tree)});
  page.sections.push_back({"nodes", "Every node", draw_list(tree)});
  page.sections.push_back({"text", "The game so far", element("pre", search.field("text").text())});
  if (searches.size() > 1) {
    page.sections.push_back(searches_section(searches, chosen));
  }
  return to_document(page);
}

}  // namespace kvcache::report::html
