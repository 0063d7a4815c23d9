// The subcommands of kvcache.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace kvcache::cli {

/// A subcommand: its options are in the parser, and run() does its work and returns the exit
/// status.
struct Command {
  CLI::App* parser = nullptr;
  std::function<int()> run;
};

// Each adds its subcommand to the program's parser.
Command add_info(CLI::App& program);
Command add_logits(CLI::App& program);
Command add_generate(CLI::App& program);
Command add_score(CLI::App& program);
Command add_eval_tree(CLI::App& program);
Command add_tokenize(CLI::App& program);
Command add_detokenize(CLI::App& program);
Command add_bench(CLI::App& program);
Command add_compare(CLI::App& program);
Command add_view(CLI::App& program);

}  // namespace kvcache::cli
