// kvcache tokenize, kvcache detokenize: text to tokens and back.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "arguments.hpp"
#include "base/checked_json.hpp"
#include "commands.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "text_input.hpp"
#include "token_list.hpp"

namespace kvcache::cli {
namespace {

struct TokenizeArguments {
  std::filesystem::path tokenizer;
  std::string text;
  std::filesystem::path file;
  bool json = false;
  bool lines = false;
  bool decode = false;
  bool ids = false;
  bool no_special = false;
  bool special_as_text = false;
  bool keep_special = false;
};

/// Reads a line's JSON: a text, or with `decode` an array of ids; prints one of the other.
void convert_line(const Tokenizer& tokenizer, const TokenizeArguments& arguments,
                  std::string_view line, std::size_t number) {
  const JsonDocument document(line, {.name = fmt::format("line {}", number),
                                     .code = ErrorCode::invalid_argument,
                                     .advice = "give a text as JSON in each line, or with --decode "
                                               "an array of ids"});
  if (arguments.decode) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    const auto ids = document.root().integers(0, kMost);
    const std::string text =
        tokenizer.decode(ids, {.skip_special_tokens = !arguments.keep_special});
    fmt::print("{}\n", nlohmann::json(text).dump());
    return;
  }
  const auto ids = tokenizer.encode(document.root().text(),
                                    {.add_special_tokens = !arguments.no_special,
                                     .special_tokens_as_text = arguments.special_as_text});
  fmt::print("[{}]\n", fmt::join(ids, ","));
}

void convert_lines(const Tokenizer& tokenizer, const TokenizeArguments& arguments,
                   std::string_view input) {
  std::size_t number = 0;
  while (!input.empty()) {
    throw_if_interrupted();
    const std::size_t end = std::min(input.find('\n'), input.size());
    convert_line(tokenizer, arguments, input.substr(0, end), ++number);
    input.remove_prefix(std::min(end + 1, input.size()));
  }
}

/// A line a token: its id and its text, as JSON so that each stays in its line.
void print_tokens(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  for (const TokenId id : ids) {
    fmt::print("{} {}\n", id, in_quotes(tokenizer.token(id).value_or("")));
  }
}

void print_encoded(const Tokenizer& tokenizer, const TokenizeArguments& arguments,
                   std::string_view text) {
  const EncodeOptions options{.add_special_tokens = !arguments.no_special,
                              .special_tokens_as_text = arguments.special_as_text};
  if (arguments.json) {
    fmt::print("{{\"ids\": [{}]}}\n", fmt::join(tokenizer.encode(text, options), ","));
    return;
  }
  const auto ids = tokenizer.encode(text, options);
  if (arguments.ids) {
    fmt::print("{}\n", fmt::join(ids, ","));
  } else {
    print_tokens(tokenizer, ids);
  }
}

void print_decoded(const Tokenizer& tokenizer, const TokenizeArguments& arguments,
                   std::string_view input) {
  const std::vector<TokenId> ids = parse_ids(input);
  const std::string text = tokenizer.decode(ids, {.skip_special_tokens = !arguments.keep_special});
  if (arguments.json) {
    fmt::print("{}\n", nlohmann::ordered_json{{"text", text}}.dump());
  } else {
    fmt::print("{}\n", text);
  }
}

std::string read_input(const TokenizeArguments& arguments, const CLI::App& parser) {
  if (parser.count("TEXT") + parser.count("--text") > 0) {
    return arguments.text;
  }
  return read_text(arguments.file);
}

int run_tokenize(const TokenizeArguments& arguments, const CLI::App& parser) {
  const Tokenizer tokenizer = Tokenizer::load(arguments.tokenizer);
  const std::string input = read_input(arguments, parser);
  if (arguments.lines) {
    convert_lines(tokenizer, arguments, input);
  } else if (arguments.decode) {
    print_decoded(tokenizer, arguments, input);
  } else {
    print_encoded(tokenizer, arguments, input);
  }
  return kOk;
}

void add_tokenizer(CLI::App& parser, std::filesystem::path& path) {
  parser.add_option("--tokenizer,TOKENIZER", path, "a model directory, or a tokenizer.json")
      ->required()
      ->check(not_empty());
}

}  // namespace

Command add_tokenize(CLI::App& program) {
  auto arguments = std::make_shared<TokenizeArguments>();
  CLI::App* parser =
      program.add_subcommand("tokenize", "Prints the tokens of a text, a line \"id text\" each");
  add_tokenizer(*parser, arguments->tokenizer);
  CLI::Option* text =
      parser->add_option("--text,TEXT", arguments->text, "the text; else standard input is read");
  parser->add_option("-f,--file", arguments->file, "reads the text from this file")
      ->check(not_empty())
      ->excludes(text);
  CLI::Option* ids = parser->add_flag("--ids", arguments->ids, "prints ids alone, 1,2,3");
  CLI::Option* json =
      parser->add_flag("--json", arguments->json, "prints {\"ids\": [1,2,3]}")->excludes(ids);
  parser
      ->add_flag("--json-lines", arguments->lines,
                 "many texts: reads a JSON text a line, prints a JSON array of ids a line")
      ->excludes(ids)
      ->excludes(json);
  parser->add_flag("--decode", arguments->decode,
                   "the reverse: reads ids, prints the text (--json: {\"text\": …})");
  parser->add_flag("--no-special-tokens", arguments->no_special,
                   "leaves out the tokens that the tokenizer puts around a text");
  parser->add_flag("--special-tokens-as-text", arguments->special_as_text,
                   "special tokens written out in the text are text like any other");
  parser->add_flag("--keep-special-tokens", arguments->keep_special,
                   "with --decode: special tokens are printed");
  parser->footer(kExitStatusHelp);
  return {parser, [arguments, parser] { return run_tokenize(*arguments, *parser); }};
}

Command add_detokenize(CLI::App& program) {
  auto arguments = std::make_shared<TokenizeArguments>();
  arguments->decode = true;
  CLI::App* parser = program.add_subcommand("detokenize", "Prints the text of tokens");
  add_tokenizer(*parser, arguments->tokenizer);
  auto ids = std::make_shared<IdsArgument>();
  ids->add_to(*parser);
  parser->add_flag("--json", arguments->json, "prints {\"text\": …}");
  parser->add_flag("--keep-special-tokens", arguments->keep_special, "special tokens are printed");
  parser->footer(kExitStatusHelp);
  return {parser, [arguments, ids] {
            print_decoded(Tokenizer::load(arguments->tokenizer), *arguments, ids->text);
            return kOk;
          }};
}

}  // namespace kvcache::cli
