#include "report/html/bench_parts.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace kvcache::report::html {
namespace {

struct ModeParts {
  std::string_view mode;
  std::vector<Part> (*parts)(const JsonValue& bench);
};

constexpr std::array kModeParts{
    ModeParts{"sequence", sequence_parts},   ModeParts{"recompute", recompute_parts},
    ModeParts{"fork", fork_parts},           ModeParts{"tree", tree_parts},
    ModeParts{"batch", batch_parts},         ModeParts{"search", search_parts},
    ModeParts{"evaluator", evaluator_parts}, ModeParts{"window", window_parts},
    ModeParts{"start", start_parts},         ModeParts{"save", save_parts}};

}  // namespace

std::vector<Part> parts_of(const JsonValue& bench) {
  const JsonValue mode = bench.field("mode");
  const auto* const found = std::ranges::find(kModeParts, mode.text(), &ModeParts::mode);
  if (found == kModeParts.end()) {
    mode.refuse("must be a mode of this version's kvcache bench");
  }
  return found->parts(bench);
}

Markup beside(const Markup& drawing, const Markup& table) {
  return element("div", {{"class", "pair"}}, element("div", drawing) + element("div", table));
}

std::string drawing_id(const JsonValue& bench, std::string_view name) {
  std::string id(name);
  for (const char letter : bench.place()) {
    id += std::isalnum(static_cast<unsigned char>(letter)) != 0 ? letter : '-';
  }
  return id;
}

}  // namespace kvcache::report::html
