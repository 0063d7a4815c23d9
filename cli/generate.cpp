// kvcache generate: what comes after given tokens.

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "arguments.hpp"
#include "commands.hpp"
#include "decoding/greedy.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "program/standard_streams.hpp"
#include "program/whole_number.hpp"

namespace kvcache::cli {
namespace {

struct GenerateArguments {
  ModelArguments model;
  IdsArgument ids;
  WindowArguments window;
  bool windowed = false;
  std::size_t max_new_tokens = 0;
};

/// Prints tokens as they come, separated by spaces; the line ends with the object.
class TokenPrinter {
 public:
  TokenPrinter() = default;
  TokenPrinter(const TokenPrinter&) = delete;
  TokenPrinter& operator=(const TokenPrinter&) = delete;
  ~TokenPrinter() {
    if (!first_) {
      std::fputc('\n', stdout);
    }
  }

  void print(TokenId token) {
    fmt::print("{}{}", first_ ? "" : " ", token);
    flush_standard_output();
    first_ = false;
  }

 private:
  bool first_ = true;
};

int run_generate(const GenerateArguments& arguments) {
  const std::vector<TokenId> prompt = arguments.ids.parse();
  const Model model = arguments.model.load();
  TokenPrinter printer;
  const auto generate = [&](auto sequence) {
    decoding::generate_greedy(sequence, prompt, arguments.max_new_tokens, [&](TokenId token) {
      printer.print(token);
      return !interrupted();
    });
  };
  if (arguments.windowed) {
    generate(WindowedSequence(model, arguments.window.options));
  } else {
    generate(model.new_sequence());
  }
  throw_if_interrupted();
  return kOk;
}

}  // namespace

Command add_generate(CLI::App& program) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* parser = program.add_subcommand(
      "generate",
      "Prints the tokens that follow the given ones, each the one with the largest "
      "logit; refuses more tokens than the model has positions for, unless a window is given");
  arguments->model.add_to(*parser);
  arguments->ids.add_to(*parser);
  parser->add_option("--max-new-tokens", arguments->max_new_tokens, "how many tokens to generate")
      ->required()
      ->check(whole_number(1));
  arguments->window.add_to(*parser);
  parser->footer(kExitStatusHelp);
  return {parser, [parser, arguments] {
            arguments->windowed =
                parser->count("--window") + parser->count("--stride") + parser->count("--sinks") >
                0;
            return run_generate(*arguments);
          }};
}

}  // namespace kvcache::cli
