// kvcache generate: what comes after a text, or after given tokens.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "commands.hpp"
#include "generate_report.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "program/standard_streams.hpp"
#include "program/whole_number.hpp"
#include "sampling_arguments.hpp"
#include "text_input.hpp"
#include "token_list.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kMaxSamples = 4096;
constexpr std::size_t kMaxLogProbabilities = 1000;

struct GenerateArguments {
  ModelArguments model;
  IdsArgument ids;
  PromptArguments prompt;
  WindowArguments window;
  SamplingArguments sampling;
  std::size_t max_new_tokens = 0;
  std::size_t samples = 1;
  std::vector<std::string> stop_strings;
  std::string stop_tokens;  // ids
  bool ignore_special = false;
  std::optional<std::size_t> log_probabilities;
  std::filesystem::path load_state;
  std::filesystem::path save_state;
  bool json = false;

  // What was given, once the command line is parsed.
  bool is_text = false;
  bool windowed = false;
};

/// What ends a text by itself: every special token that the model can give.
std::vector<TokenId> special_tokens(const Tokenizer& tokenizer, std::size_t vocab_size) {
  std::vector<TokenId> tokens;
  for (std::size_t id = 0; id < std::min(vocab_size, tokenizer.vocab_size()); ++id) {
    if (tokenizer.is_special(static_cast<TokenId>(id))) {
      tokens.push_back(static_cast<TokenId>(id));
    }
  }
  return tokens;
}

/// Prints one text as it comes, or its tokens separated by spaces; the line ends with the object.
class Printer {
 public:
  explicit Printer(bool is_text) : is_text_(is_text) {}
  Printer(const Printer&) = delete;
  Printer& operator=(const Printer&) = delete;
  ~Printer() {
    if (begun_ || is_text_) {
      std::fputc('\n', stdout);
    }
  }

  void print(const NewToken& token) {
    if (is_text_) {
      fmt::print("{}", token.text);
    } else {
      fmt::print("{}{}", begun_ ? " " : "", token.token);
    }
    begun_ = true;
    flush_standard_output();
  }

 private:
  bool is_text_;
  bool begun_ = false;
};

/// Prints several texts, which were complete at different times.
void print_texts(const GenerationReport& report) {
  for (std::size_t i = 0; i < report.texts.size(); ++i) {
    const Generated& text = report.texts[i];
    fmt::print("# {} of {} ({})\n", i + 1, report.texts.size(),
               finish_reason_text(text.finish_reason));
    if (report.with_text) {
      fmt::print("{}\n", text.text);
    } else {
      fmt::print("{}\n", fmt::join(text.tokens, " "));
    }
  }
}

/// A generation: the arguments made into what the library takes.
class Generation {
 public:
  Generation(const GenerateArguments& arguments, const SamplingOptions& sampling,
             std::optional<Tokenizer> tokenizer, std::vector<TokenId> prompt)
      : arguments_(arguments),
        tokenizer_(std::move(tokenizer)),
        prompt_(std::move(prompt)),
        model_(arguments.model.load()) {
    options_.max_new_tokens = arguments.max_new_tokens;
    options_.sampling = sampling;
    options_.stop_strings = arguments.stop_strings;
    options_.log_probabilities = arguments.log_probabilities;
    if (!arguments.stop_tokens.empty()) {
      options_.stop_tokens = parse_ids(arguments.stop_tokens, "--stop-tokens");
    }
    if (tokenizer_) {
      options_.tokenizer = &*tokenizer_;
      if (!arguments.ignore_special) {
        const auto special = special_tokens(*tokenizer_, model_.info().vocab_size);
        options_.stop_tokens.insert(options_.stop_tokens.end(), special.begin(), special.end());
      }
    }
    report_.seed = sampling.seed;
    report_.with_text = tokenizer_.has_value();
  }

  int run() {
    if (arguments_.windowed) {
      WindowedSequence sequence(model_, arguments_.window.options);
      generate_one(sequence);
    } else {
      Sequence sequence = arguments_.load_state.empty()
                              ? model_.new_sequence()
                              : model_.load_sequence(arguments_.load_state);
      report_.prompt_tokens = sequence.length();
      generate_in(sequence);
    }
    throw_if_interrupted();
    print_report();
    return kOk;
  }

 private:
  void generate_in(Sequence& sequence) {
    if (arguments_.samples > 1) {
      report_.prompt_tokens += prompt_.size();
      report_.time = Stopwatch();
      report_.texts = generate_samples(sequence, prompt_, arguments_.samples, options_,
                                       [&](const NewToken&) { return noted(); });
      report_.cache = model_.cache_stats();
      return;
    }
    check_state_fits(sequence);
    generate_one(sequence);
    if (!arguments_.save_state.empty() && !interrupted()) {
      sequence.extend({&report_.texts.front().tokens.back(), 1});  // the whole text
      sequence.save(arguments_.save_state);
    }
  }

  template <typename AnySequence>
  void generate_one(AnySequence& sequence) {
    report_.prompt_tokens += prompt_.size();
    std::optional<Printer> printer;
    if (!arguments_.json) {
      printer.emplace(report_.with_text);
    }
    report_.time = Stopwatch();
    report_.texts = {generate(sequence, prompt_, options_, [&](const NewToken& token) {
      const bool go_on = noted();
      if (printer) {
        printer->print(token);
      }
      return go_on;
    })};
    report_.cache = model_.cache_stats();
  }

  /// Whether more tokens are wanted.
  bool noted() {
    report_.time.token();
    return !interrupted();
  }

  /// A saved state has the last new token too.
  void check_state_fits(const Sequence& sequence) const {
    if (!arguments_.save_state.empty() &&
        !sequence.fits(prompt_.size() + arguments_.max_new_tokens)) {
      throw UsageError(
          fmt::format("--save-state: {} tokens, a prompt of {} and {} new ones do not fit in the "
                      "model's positions; ask for fewer new tokens",
                      sequence.length(), prompt_.size(), arguments_.max_new_tokens));
    }
  }

  void print_report() const {
    if (arguments_.json) {
      fmt::print("{}\n", to_json(report_).dump(2));
      return;
    }
    if (report_.texts.size() > 1) {
      print_texts(report_);
    }
    flush_standard_output();
    write_error_line(describe(report_));
  }

  const GenerateArguments& arguments_;
  std::optional<Tokenizer> tokenizer_;  // of a text
  std::vector<TokenId> prompt_;
  Model model_;
  GenerateOptions options_;
  GenerationReport report_;
};

/// What the parser cannot refuse by itself.
void check(const GenerateArguments& arguments, const SamplingOptions& sampling) {
  const bool states = !arguments.load_state.empty() || !arguments.save_state.empty();
  if (arguments.windowed && (states || arguments.samples > 1)) {
    throw UsageError(
        "--window, --stride and --sinks are of one text without saved states; leave out --n, "
        "--load-state and --save-state, or the window");
  }
  if (arguments.samples > 1 && sampling.temperature == 0) {
    throw UsageError(fmt::format(
        "--n {} at temperature 0 would give the same text {} times; give a --temperature above 0",
        arguments.samples, arguments.samples));
  }
  if (arguments.samples > 1 && !arguments.save_state.empty()) {
    throw UsageError("--save-state saves one text; leave out --n");
  }
  if (arguments.log_probabilities && !arguments.json) {
    throw UsageError("--log-probabilities are printed as JSON only; add --json");
  }
  if (!arguments.is_text && (!arguments.stop_strings.empty() || arguments.ignore_special)) {
    throw UsageError(
        "--stop and --ignore-special-tokens are about a text, and --ids gives tokens; give "
        "--stop-tokens, or a --prompt");
  }
}

int run_generate(const GenerateArguments& arguments, const CLI::App& parser) {
  const SamplingOptions sampling = arguments.sampling.parse(parser);
  check(arguments, sampling);
  std::vector<TokenId> prompt;
  std::optional<Tokenizer> tokenizer;
  if (arguments.is_text) {
    tokenizer = load_tokenizer(arguments.model.path);
    const bool goes_on = !arguments.load_state.empty();
    if (!goes_on || arguments.prompt.given(parser)) {
      // What a saved text goes on with is no beginning of a text.
      prompt = tokenizer->encode(arguments.prompt.read(parser), {.add_special_tokens = !goes_on});
    }
    if (prompt.empty() && !goes_on) {
      throw UsageError("the text is empty, and nothing can follow it; give --prompt, -f or --ids");
    }
  } else {
    prompt = arguments.ids.parse();
  }
  return Generation(arguments, sampling, std::move(tokenizer), std::move(prompt)).run();
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
  arguments.sampling.add_to(parser);
  parser
      .add_option("--stop", arguments.stop_strings,
                  "a string that ends the text, before it; may be given several times")
      ->take_all();
  parser.add_option("--stop-tokens", arguments.stop_tokens, "ids of tokens that end the text");
  parser.add_flag("--ignore-special-tokens", arguments.ignore_special,
                  "special tokens do not end the text");
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
}

}  // namespace

Command add_generate(CLI::App& program) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* parser = program.add_subcommand(
      "generate",
      "Prints the text that follows a text, up to a special token, or the tokens that follow the "
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
