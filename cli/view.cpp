// kvcache view: draws a file of this project's, whichever it is.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.hpp"
#include "base/atomic_file.hpp"
#include "base/checked_json.hpp"
#include "commands.hpp"
#include "json_file.hpp"
#include "program/exit_status.hpp"
#include "program/whole_number.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_page.hpp"
#include "report/html/tree_page.hpp"

namespace kvcache::cli {
namespace {

namespace html = report::html;
using Document = std::unique_ptr<JsonDocument>;

struct ViewArguments {
  std::vector<std::filesystem::path> files;
  std::string html;
  std::size_t search = 1;
};

constexpr const char* kWhatIsDrawn =
    "give what kvcache bench --json, kvcache eval-tree --tree, trigo_selfplay --trace or "
    "bench/peers/cpu_peers.py --json write or read";

JsonSource viewed_source(const std::filesystem::path& path) {
  return {.name = path.string(), .code = ErrorCode::invalid_argument, .advice = kWhatIsDrawn};
}

enum class Kind { bench, peers, tree, trace };

/// By its fields.
Kind kind_of(const JsonValue& root) {
  if (root.is_array()) {
    return Kind::bench;
  }
  if (root.has("format")) {
    constexpr std::array<std::string_view, 2> kFormats{"kvcache-bench", "kvcache-peers"};
    return root.field("format").text_of(kFormats) == kFormats[0] ? Kind::bench : Kind::peers;
  }
  if (root.has("nodes")) {
    return Kind::trace;
  }
  if (!root.has("tokens")) {
    root.refuse("must be a measurement, a tree or a search");
  }
  return Kind::tree;
}

/// The lines of a trace, a search each.
std::vector<Document> read_lines(std::string_view text, const std::filesystem::path& path) {
  std::vector<Document> lines;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      JsonSource source = viewed_source(path);
      source.name += fmt::format(", line {}", number);
      lines.push_back(std::make_unique<JsonDocument>(line, source));
    }
  }
  return lines;
}

/// Whether a text is lines of documents: the first one is one by itself, and others follow.
bool is_lines(std::string_view text) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos ||
      text.find_first_not_of(" \t\r\n", end) == std::string_view::npos) {
    return false;
  }
  try {
    static_cast<void>(JsonDocument(text.substr(0, end), {}));
    return true;
  } catch (const Error&) {  // a document over several lines, or none at all
    return false;
  }
}

std::vector<Document> read_documents(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  if (is_lines(text)) {
    return read_lines(text, path);
  }
  std::vector<Document> documents;
  documents.push_back(std::make_unique<JsonDocument>(text, viewed_source(path)));
  return documents;
}

std::string trace_page(const ViewArguments& arguments, const std::vector<Document>& lines) {
  std::vector<JsonValue> searches;
  searches.reserve(lines.size());
  for (const Document& line : lines) {
    searches.push_back(line->root());
  }
  if (arguments.search > searches.size()) {
    throw UsageError(fmt::format("--search is {}, must be from 1 to {}, the searches in {}",
                                 arguments.search, searches.size(),
                                 arguments.files.front().string()));
  }
  return html::search_page(arguments.files.front().filename().string(), searches,
                           arguments.search - 1);
}

std::string page_of(const ViewArguments& arguments, bool search_given) {
  std::vector<std::vector<Document>> files;
  std::vector<JsonValue> benches;
  std::vector<JsonValue> peers;
  for (const std::filesystem::path& path : arguments.files) {
    files.push_back(read_documents(path));
    const JsonValue root = files.back().front()->root();
    const Kind kind = kind_of(root);
    if ((kind == Kind::tree || kind == Kind::trace) && arguments.files.size() > 1) {
      throw UsageError(
          fmt::format("{} is a tree, which is drawn alone; give measurements together, or one tree",
                      path.string()));
    }
    if (search_given && kind != Kind::trace) {
      throw UsageError(
          fmt::format("--search is for traces, and {} is none; leave it out", path.string()));
    }
    switch (kind) {
      case Kind::trace:
        return trace_page(arguments, files.back());
      case Kind::tree:
        return html::token_tree_page(path.filename().string(), root);
      case Kind::peers:
        peers.push_back(root);
        break;
      case Kind::bench:
        for (const Document& document : files.back()) {
          for (const JsonValue& bench : html::benches_of(document->root())) {
            benches.push_back(bench);
          }
        }
        break;
    }
  }
  return html::bench_page(benches, peers);
}

int run_view(const ViewArguments& arguments, bool search_given) {
  const std::filesystem::path target =
      arguments.html.empty()
          ? std::filesystem::path(arguments.files.front()).replace_extension(".html")
          : std::filesystem::path(arguments.html);
  const std::string page = page_of(arguments, search_given);
  AtomicFile file(target);
  file.write(page);
  file.commit();
  fmt::print("{}\n", target.string());
  return kOk;
}

}  // namespace

Command add_view(CLI::App& program) {
  auto arguments = std::make_shared<ViewArguments>();
  CLI::App* parser = program.add_subcommand(
      "view",
      "Draws a measurement, a tree or a search's trace as a page for a browser, and prints the "
      "page's name");
  parser
      ->add_option("FILE", arguments->files,
                   "what kvcache bench --json wrote (several make one page, with files of "
                   "bench/peers beside them); a tree of kvcache eval-tree; or the searches of "
                   "trigo_selfplay --trace")
      ->required();
  parser
      ->add_option("--html", arguments->html,
                   "the page's file (default: the first FILE's name with .html)")
      ->check(not_empty());
  const CLI::Option* search =
      parser
          ->add_option("--search", arguments->search,
                       "which search of a trace is drawn, counted from 1 (default: 1)")
          ->check(whole_number(1));
  parser->footer(kExitStatusHelp);
  return {parser, [arguments, search] { return run_view(*arguments, search->count() > 0); }};
}

}  // namespace kvcache::cli
