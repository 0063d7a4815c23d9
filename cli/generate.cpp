// kvcache generate: what comes after a text, or after given tokens.

#include <fmt/format.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "generation.hpp"
#include "interactive.hpp"
#include "program/exit_status.hpp"
#include "program/whole_number.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kMaxSamples = 4096;
constexpr std::size_t kMaxBeams = 1024;
constexpr std::size_t kMaxLogProbabilities = 1000;

/// Options that cannot be beside --beams: those of one text that is drawn.
constexpr std::array kNotOfBeams{"--temperature",
                                 "--top-k",
                                 "--top-p",
                                 "--min-p",
                                 "--typical-p",
                                 "--seed",
                                 "--n",
                                 "--stop",
                                 "--repetition-penalty",
                                 "--frequency-penalty",
                                 "--presence-penalty",
                                 "--logit-bias",
                                 "--log-probabilities",
                                 "--save-state",
                                 "--prompt-lookup",
                                 "--draft-model"};

/// Options that cannot be beside --interactive, which reads lines and prints one text.
constexpr std::array kNotInteractive{"--ids",    "--prompt", "--file",  "--n",    "--beams",
                                     "--window", "--stride", "--sinks", "--json", "--save-state"};

void refuse_beside(const char* mode, std::span<const char* const> names, const CLI::App& parser) {
  for (const char* name : names) {
    if (parser.count(name) > 0) {
      throw UsageError(fmt::format("{} cannot be beside {}; leave one of the two out", name, mode));
    }
  }
}

void check_several(const GenerateArguments& arguments, const SamplingOptions& sampling) {
  const bool several = arguments.samples > 1 || arguments.beams > 0;
  if (arguments.windowed &&
      (several || !arguments.load_state.empty() || !arguments.save_state.empty())) {
    throw UsageError(
        "--window, --stride and --sinks are of one text without saved states; leave out --n, "
        "--beams, --load-state and --save-state, or the window");
  }
  if (arguments.samples > 1 && sampling.temperature == 0) {
    throw UsageError(fmt::format(
        "--n {} at temperature 0 would give the same text {} times; give a --temperature above 0",
        arguments.samples, arguments.samples));
  }
  if (arguments.samples > 1 && !arguments.save_state.empty()) {
    throw UsageError("--save-state saves one text; leave out --n");
  }
}

/// What the parser cannot refuse.
void check(const GenerateArguments& arguments, const SamplingOptions& sampling,
           const CLI::App& parser) {
  if (arguments.interactive) {
    refuse_beside("--interactive", kNotInteractive, parser);
  }
  if (arguments.beams > 0) {
    refuse_beside("--beams", kNotOfBeams, parser);
  }
  if (arguments.beams == 0 && parser.count("--length-penalty") > 0) {
    throw UsageError("--length-penalty compares the texts of --beams; give that too");
  }
  if (arguments.chat && (!arguments.is_text || !arguments.load_state.empty())) {
    throw UsageError(
        "--chat is of messages, and --ids and --load-state give tokens; leave these out, or "
        "--chat");
  }
  if (!arguments.chat && parser.count("--system") > 0) {
    throw UsageError("--system is a message of a chat; add --chat");
  }
  check_several(arguments, sampling);
  if (arguments.speculation.given() &&
      (arguments.samples > 1 || arguments.windowed || arguments.interactive)) {
    throw UsageError(
        "--prompt-lookup and --draft-model guess the tokens of one text within the model's "
        "positions; leave out --n, --interactive and the window");
  }
  if (!arguments.speculation.given() && parser.count("--max-drafts") > 0) {
    throw UsageError("--max-drafts is of guesses; give --prompt-lookup or --draft-model too");
  }
  if (arguments.log_probabilities && !arguments.json) {
    throw UsageError("--log-probabilities are printed as JSON only; add --json");
  }
  if (!arguments.is_text && (!arguments.stop_strings.empty() || arguments.ignore_stop_tokens)) {
    throw UsageError(
        "--stop and --ignore-stop-tokens are about a text, and --ids gives tokens; give "
        "--stop-tokens, or a --prompt");
  }
}

/// What is said before the model's first answer.
std::vector<ChatMessage> conversation(const GenerateArguments& arguments, std::string said) {
  std::vector<ChatMessage> messages = first_messages(arguments);
  messages.push_back({"user", std::move(said)});
  return messages;
}

int run_generate(const GenerateArguments& arguments, const CLI::App& parser) {
  const SamplingOptions sampling = arguments.sampling.parse(parser);
  check(arguments, sampling, parser);
  std::vector<TokenId> prompt;
  std::optional<Tokenizer> tokenizer;
  if (arguments.is_text) {
    tokenizer = load_tokenizer(arguments.model.path);
    if (arguments.interactive) {
      return run_interactive(arguments, sampling, *tokenizer);
    }
    const bool goes_on = !arguments.load_state.empty();
    if (arguments.chat) {
      prompt = load_chat_template(arguments.model.path)
                   .encode(*tokenizer, conversation(arguments, arguments.prompt.read(parser)));
    } else if (!goes_on || arguments.prompt.given(parser)) {
      // What a saved text goes on with is no beginning of a text.
      prompt = tokenizer->encode(arguments.prompt.read(parser), {.add_special_tokens = !goes_on});
    }
    if (prompt.empty() && !goes_on) {
      throw UsageError("the text is empty, and nothing can follow it; give --prompt, -f or --ids");
    }
  } else {
    prompt = arguments.ids.parse();
  }
  return run_generation(arguments, sampling, std::move(tokenizer), std::move(prompt));
}

void add_options(CLI::App& parser, GenerateArguments& arguments) {
  arguments.model.add_to(parser);
  CLI::Option* const ids = arguments.ids.add_to(parser)->required(false);
  arguments.prompt.add_to(parser, ids);
  parser.add_option("--max-new-tokens", arguments.max_new_tokens, "how many tokens to generate")
      ->required()
      ->check(whole_number(1));
  parser
      .add_option("--n", arguments.samples,
                  "so many texts of the prompt, which is computed once (default: 1)")
      ->check(whole_number(1, kMaxSamples));
  parser
      .add_option("--beams", arguments.beams,
                  "searches for the so many most probable texts instead, keeping as many at each "
                  "length")
      ->check(whole_number(1, kMaxBeams));
  parser.add_option("--length-penalty", arguments.length_penalty,
                    "with --beams: texts are compared by log-probability / length^this (default: "
                    "1)");
  arguments.sampling.add_to(parser);
  arguments.speculation.add_to(parser);
  arguments.constraint.add_to(parser);
  parser
      .add_option("--stop", arguments.stop_strings,
                  "a string that ends the text, before it; may be given several times")
      ->take_all();
  parser.add_option("--stop-tokens", arguments.stop_tokens, "ids of tokens that end the text");
  parser.add_flag("--ignore-stop-tokens", arguments.ignore_stop_tokens,
                  "the model's own stop tokens do not end the text");
  parser.add_flag("--chat", arguments.chat,
                  "the prompt is what a user says to the model, by its chat template");
  parser.add_option("--system", arguments.system, "with --chat: what the system says first");
  parser
      .add_option("--log-probabilities", arguments.log_probabilities,
                  "with --json: how probable each new token was, and this many others")
      ->check(whole_number(0, kMaxLogProbabilities));
  parser
      .add_option("--load-state", arguments.load_state,
                  "goes on after the text of a saved state; without a prompt, with that text")
      ->check(not_empty());
  parser
      .add_option("--save-state", arguments.save_state,
                  "saves the whole text with its keys and values to this file")
      ->check(not_empty());
  arguments.window.add_to(parser);
  parser.add_flag("--json", arguments.json, "prints one JSON object instead");
  parser.add_flag("--interactive", arguments.interactive,
                  "reads lines, each a part of one text, and prints what follows; /help lists "
                  "commands");
}

}  // namespace

Command add_generate(CLI::App& program) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* parser = program.add_subcommand(
      "generate",
      "Prints the text that follows a text, up to a stop token, or the tokens that follow the "
      "given ones: each the one with the largest logit, or drawn by chance; refuses more tokens "
      "than the model has positions for, unless a window is given");
  add_options(*parser, *arguments);
  parser->footer(kExitStatusHelp);
  return {parser, [parser, arguments] {
            arguments->is_text = parser->count("--ids") == 0;
            arguments->windowed =
                parser->count("--window") + parser->count("--stride") + parser->count("--sinks") >
                0;
            return run_generate(*arguments, *parser);
          }};
}

}  // namespace kvcache::cli
