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
  bool chat = false;
  bool no_generation_prompt = false;
};

/// The texts of a tokenizer and, where messages are read, of a chat template.
struct Texts {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;
};

Texts load_texts(const TokenizeArguments& arguments) {
  std::optional<ChatTemplate> chat_template;
  if (arguments.chat) {
    chat_template = ChatTemplate::load(std::filesystem::is_directory(arguments.tokenizer)
                                           ? arguments.tokenizer
                                           : arguments.tokenizer.parent_path());
  }
  return {Tokenizer::load(arguments.tokenizer), std::move(chat_template)};
}

std::vector<ChatMessage> read_messages(const JsonValue& list) {
  std::vector<ChatMessage> messages;
  for (const JsonValue& entry : list.elements()) {
    constexpr std::array<std::string_view, 2> kFields{"role", "content"};
    entry.only_fields(kFields);
    messages.push_back({entry.field("role").text(), entry.field("content").text()});
  }
  return messages;
}

/// Prints the text of messages and its tokens, {"text": …, "ids": […]}.
void print_chat(const Texts& texts, const TokenizeArguments& arguments, const JsonValue& list) {
  const std::vector<ChatMessage> messages = read_messages(list);
  const ChatOptions options{.add_generation_prompt = !arguments.no_generation_prompt, .now = {}};
  const nlohmann::ordered_json printed{
      {"text", texts.chat_template->render(messages, options)},
      {"ids", texts.chat_template->encode(texts.tokenizer, messages, options)}};
  fmt::print("{}\n", printed.dump());
}

/// Reads a line's JSON: a text, with `decode` an array of ids, with `chat` one of messages; prints
/// what becomes of it.
void convert_line(const Texts& texts, const TokenizeArguments& arguments, std::string_view line,
                  std::size_t number) {
  const Tokenizer& tokenizer = texts.tokenizer;
  const JsonDocument document(line, {.name = fmt::format("line {}", number),
                                     .code = ErrorCode::invalid_argument,
                                     .advice = "give a text as JSON in each line, or with --decode "
                                               "an array of ids, or with --chat one of messages"});
  if (arguments.chat) {
    print_chat(texts, arguments, document.root());
    return;
  }
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

void convert_lines(const Texts& texts, const TokenizeArguments& arguments, std::string_view input) {
  std::size_t number = 0;
  while (!input.empty()) {
    throw_if_interrupted();
    const std::size_t end = std::min(input.find('\n'), input.size());
    convert_line(texts, arguments, input.substr(0, end), ++number);
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
  const Texts texts = load_texts(arguments);
  const Tokenizer& tokenizer = texts.tokenizer;
  const std::string input = read_input(arguments, parser);
  if (arguments.lines) {
    convert_lines(texts, arguments, input);
  } else if (arguments.chat) {
    const JsonDocument document(
        input,
        {.name = "the chat",
         .code = ErrorCode::invalid_argument,
         .advice = "give an array of messages: [{\"role\": \"user\", \"content\": \"Hi\"}]"});
    print_chat(texts, arguments, document.root());
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
  CLI::Option* decode =
      parser->add_flag("--decode", arguments->decode,
                       "the reverse: reads ids, prints the text (--json: {\"text\": …})");
  CLI::Option* chat =
      parser->add_flag("--chat", arguments->chat,
                       "reads a JSON array of messages, {\"role\": …, \"content\": …} each; prints "
                       "what the chat template makes of them, {\"text\": …, \"ids\": […]}");
  chat->excludes(decode)->excludes(ids);
  parser
      ->add_flag("--no-generation-prompt", arguments->no_generation_prompt,
                 "with --chat: without what begins the assistant's answer")
      ->needs(chat);
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
