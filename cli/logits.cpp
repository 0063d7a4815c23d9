// kvcache logits: the logits of given tokens.

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "arguments.hpp"
#include "base/atomic_file.hpp"
#include "commands.hpp"
#include "npy.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kTop = 5;

struct LogitsArguments {
  ModelArguments model;
  IdsArgument ids;
  std::filesystem::path npy;
};

int run_logits(const LogitsArguments& arguments) {
  const std::vector<TokenId> ids = arguments.ids.parse();
  std::optional<AtomicFile> file;
  if (!arguments.npy.empty()) {
    file.emplace(arguments.npy);  // before the work that it would lose
  }
  const Model model = arguments.model.load();
  Sequence sequence = model.new_sequence();
  const Logits logits = sequence.extend(ids, file ? LogitsFor::all : LogitsFor::last);
  throw_if_interrupted();
  if (file) {
    write_npy(logits, *file);
  }
  for (const TokenScore& score : logits.top_k(kTop, logits.rows() - 1)) {
    fmt::print("{} {:.6f}\n", score.token, score.logit);
  }
  return kOk;
}

}  // namespace

Command add_logits(CLI::App& program) {
  auto arguments = std::make_shared<LogitsArguments>();
  CLI::App* parser = program.add_subcommand(
      "logits", "Prints the five largest logits after the given tokens, a line \"id logit\" each");
  arguments->model.add_to(*parser);
  arguments->ids.add_to(*parser);
  parser
      ->add_option("--npy", arguments->npy,
                   "writes the logits of all positions, float32 [tokens, vocabulary], to this "
                   ".npy file")
      ->check(not_empty());
  parser->footer(kExitStatusHelp);
  return {parser, [arguments] { return run_logits(*arguments); }};
}

}  // namespace kvcache::cli
