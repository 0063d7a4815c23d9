// kvcache eval-tree: the logits of many continuations of given tokens.

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "arguments.hpp"
#include "base/atomic_file.hpp"
#include "commands.hpp"
#include "npy.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "program/run.hpp"
#include "report/agreement.hpp"
#include "tree_file.hpp"

namespace kvcache::cli {
namespace {

struct EvalTreeArguments {
  ModelArguments model;
  IdsArgument ids;
  std::filesystem::path tree;
  std::filesystem::path npy;
};

/// The prefix and the tokens from the root to `node`.
std::vector<TokenId> text_of(const std::vector<TokenId>& prefix, const TokenTree& tree,
                             std::size_t node) {
  std::vector<TokenId> path;
  for (auto at = static_cast<std::int32_t>(node); at >= 0;
       at = tree.parents[static_cast<std::size_t>(at)]) {
    path.push_back(tree.tokens[static_cast<std::size_t>(at)]);
  }
  std::vector<TokenId> text(prefix);
  text.insert(text.end(), path.rbegin(), path.rend());
  return text;
}

/// Each node against a forward without cache over its path.
report::Agreement check_agreement(const Model& model, const std::vector<TokenId>& prefix,
                                  const TokenTree& tree, const Logits& logits) {
  report::Agreement agreement;
  agreement.tolerance = report::logit_tolerance(model.info());
  for (std::size_t node = 0; node < logits.rows(); ++node) {
    throw_if_interrupted();
    const Logits reference = model.forward_without_cache(text_of(prefix, tree, node));
    agreement.compare_token(logits.argmax(node), reference.last());
    agreement.compare_logits(logits.row(node), reference.last());
  }
  return agreement;
}

int run_eval_tree(const EvalTreeArguments& arguments) {
  const std::vector<TokenId> prefix = arguments.ids.parse();
  const TokenTree tree = read_tree(arguments.tree);
  std::optional<AtomicFile> file;
  if (!arguments.npy.empty()) {
    file.emplace(arguments.npy);  // before the work that it would lose
  }
  const Model model = arguments.model.load();
  Sequence sequence = model.new_sequence();
  sequence.extend(prefix);
  const TreeEvaluation evaluation = sequence.evaluate(tree);
  const Logits& logits = evaluation.logits();
  const report::Agreement agreement = check_agreement(model, prefix, tree, logits);
  if (file) {
    write_npy(logits, *file);
  }
  for (std::size_t node = 0; node < logits.rows(); ++node) {
    const TokenScore best = logits.top_k(1, node).front();
    fmt::print("{} {} {} {:.6f}\n", node, tree.parents[node], best.token, best.logit);
  }
  fmt::print("# {}\n", agreement.describe());
  if (!agreement.holds()) {
    return report_error("the tree and its paths alone do not agree: " + agreement.describe(),
                        kFailed);
  }
  return kOk;
}

}  // namespace

Command add_eval_tree(CLI::App& program) {
  auto arguments = std::make_shared<EvalTreeArguments>();
  CLI::App* parser = program.add_subcommand(
      "eval-tree",
      "Evaluates a tree of continuations of the given tokens in one run; prints a line \"node "
      "parent id logit\" each, with the largest logit that follows the node, and whether the tree "
      "agrees with each path computed alone");
  arguments->model.add_to(*parser);
  arguments->ids.add_to(*parser);
  parser
      ->add_option("--tree", arguments->tree,
                   "JSON file {\"tokens\": [...], \"parents\": [...]}: node i is tokens[i] after "
                   "node parents[i], an earlier one, or after the given tokens where that is -1")
      ->required();
  parser
      ->add_option("--npy", arguments->npy,
                   "writes the logits of all nodes, float32 [nodes, vocabulary], to this .npy file")
      ->check(not_empty());
  parser->footer(kExitStatusHelp);
  return {parser, [arguments] { return run_eval_tree(*arguments); }};
}

}  // namespace kvcache::cli
