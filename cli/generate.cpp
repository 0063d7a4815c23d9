// kvcache generate: what comes after given tokens or a text.

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
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
  std::string prompt;  // a text
  bool is_text = false;
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

  /// Whether more are wanted.
  bool print(TokenId token) {
    fmt::print("{}{}", first_ ? "" : " ", token);
    flush_standard_output();
    first_ = false;
    return true;
  }

 private:
  bool first_ = true;
};

/// Prints a text as its tokens come, each character once it is whole; a special token ends it.
class TextPrinter {
 public:
  explicit TextPrinter(const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), text_(tokenizer.new_text()) {}
  TextPrinter(const TextPrinter&) = delete;
  TextPrinter& operator=(const TextPrinter&) = delete;
  ~TextPrinter() {
    try {
      fmt::print("{}\n", text_.finish());
    } catch (...) {  // there was no memory for the last character
      std::fputc('\n', stdout);
    }
  }

  bool print(TokenId token) {
    if (tokenizer_.is_special(token)) {
      return false;
    }
    fmt::print("{}", text_.push(token));
    flush_standard_output();
    return true;
  }

 private:
  const Tokenizer& tokenizer_;
  TextStream text_;
};

template <typename Printer>
void generate(const GenerateArguments& arguments, const Model& model,
              const std::vector<TokenId>& prompt, Printer& printer) {
  const auto into = [&](auto sequence) {
    decoding::generate_greedy(sequence, prompt, arguments.max_new_tokens, [&](TokenId token) {
      return printer.print(token) && !interrupted();
    });
  };
  if (arguments.windowed) {
    into(WindowedSequence(model, arguments.window.options));
  } else {
    into(model.new_sequence());
  }
}

int run_generate(const GenerateArguments& arguments) {
  if (arguments.is_text) {
    const std::filesystem::path path = arguments.model.path;
    const Tokenizer tokenizer =
        Tokenizer::load(std::filesystem::is_directory(path) ? path : path.parent_path());
    const std::vector<TokenId> prompt = tokenizer.encode(arguments.prompt);
    const Model model = arguments.model.load();
    TextPrinter printer(tokenizer);
    generate(arguments, model, prompt, printer);
  } else {
    const std::vector<TokenId> prompt = arguments.ids.parse();
    const Model model = arguments.model.load();
    TokenPrinter printer;
    generate(arguments, model, prompt, printer);
  }
  throw_if_interrupted();
  return kOk;
}

}  // namespace

Command add_generate(CLI::App& program) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* parser = program.add_subcommand(
      "generate",
      "Prints the tokens that follow the given ones, or the text that follows a text, each token "
      "the one with the largest logit; refuses more tokens than the model has positions for, "
      "unless a window is given");
  arguments->model.add_to(*parser);
  CLI::Option* const ids = arguments->ids.add_to(*parser)->required(false);
  parser
      ->add_option("--prompt", arguments->prompt,
                   "a text instead of --ids, for a model with a tokenizer; prints the text that "
                   "follows, up to a special token")
      ->excludes(ids);
  parser->add_option("--max-new-tokens", arguments->max_new_tokens, "how many tokens to generate")
      ->required()
      ->check(whole_number(1));
  arguments->window.add_to(*parser);
  parser->footer(kExitStatusHelp);
  return {parser, [parser, arguments] {
            arguments->is_text = parser->count("--prompt") > 0;
            if (!arguments->is_text && parser->count("--ids") == 0) {
              throw UsageError("give what to continue: --ids or --prompt");
            }
            arguments->windowed =
                parser->count("--window") + parser->count("--stride") + parser->count("--sinks") >
                0;
            return run_generate(*arguments);
          }};
}

}  // namespace kvcache::cli
