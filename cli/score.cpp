// kvcache score: how probable a text is, or each of many continuations of one.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "base/checked_json.hpp"
#include "commands.hpp"
#include "decoding/scores.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "report/json.hpp"
#include "text_input.hpp"

namespace kvcache::cli {
namespace {

using decoding::TokenScores;
using TokenIds = std::vector<TokenId>;

struct ScoreArguments {
  ModelArguments model;
  PromptArguments prompt;
  std::vector<std::string> continuations;
  bool json = false;
};

/// The prompt with each continuation, as tokens of the joined text.
struct JoinedTokens {
  std::size_t shared = 0;           // tokens that all begin with
  TokenIds prefix;                  // these
  std::vector<TokenIds> rest;       // of each, after them
  std::vector<std::size_t> first;   // in each rest: the continuation's first token
  std::vector<std::size_t> prompt;  // of each: tokens before it
};

std::size_t common_prefix(const TokenIds& a, const TokenIds& b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

/// Where a token of the joined text is of both, it is scored with the continuation: of the prompt's
/// own tokens those count that the joined text begins with.
JoinedTokens join(const Tokenizer& tokenizer, const std::string& prompt,
                  const std::vector<std::string>& continuations) {
  const TokenIds alone = tokenizer.encode(prompt);
  JoinedTokens joined;
  joined.shared = alone.size();
  std::vector<TokenIds> whole;
  for (const std::string& continuation : continuations) {
    whole.push_back(tokenizer.encode(prompt + continuation));
    const std::size_t before = common_prefix(alone, whole.back());
    joined.prompt.push_back(before);
    joined.shared = std::min(joined.shared, before);
    if (before == whole.back().size()) {
      throw UsageError(fmt::format("--continuation {} adds no token to the prompt; leave it out",
                                   in_quotes(continuation)));
    }
  }
  if (joined.shared == 0) {
    throw UsageError(
        "no token of the prompt is before a continuation, so that its first one cannot be scored; "
        "give a --prompt that does not end within a token");
  }
  const auto middle = static_cast<std::ptrdiff_t>(joined.shared);
  joined.prefix.assign(whole.front().begin(), whole.front().begin() + middle);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    joined.rest.emplace_back(whole[i].begin() + middle, whole[i].end());
    joined.first.push_back(joined.prompt[i] - joined.shared);
  }
  return joined;
}

report::Json to_json(const TokenScores& scores, std::span<const TokenId> tokens) {
  return {{"ids", tokens},
          {"log_probability", scores.log_probability()},
          {"log_probabilities", scores.log_probabilities},
          {"perplexity", scores.perplexity()},
          {"greedy", scores.greedy}};
}

void print_line(const TokenScores& scores, const std::string& text) {
  fmt::print("{:.6f} {:.4f} {} {}\n", scores.log_probability(), scores.perplexity(),
             scores.log_probabilities.size(), in_quotes(text));
}

void score_text(const ScoreArguments& arguments, const Model& model, const TokenIds& tokens,
                const std::string& text) {
  Sequence sequence = model.new_sequence();
  const TokenScores scores = decoding::score_text(sequence, tokens);
  throw_if_interrupted();
  if (arguments.json) {
    fmt::print("{}\n", to_json(scores, std::span(tokens).subspan(1)).dump(2));
  } else {
    print_line(scores, text);
  }
}

void score_continuations(const ScoreArguments& arguments, const Model& model,
                         const JoinedTokens& joined) {
  Sequence sequence = model.new_sequence();
  const std::vector<TokenScores> scores =
      decoding::score_continuations(sequence, joined.prefix, joined.rest, joined.first);
  throw_if_interrupted();
  report::Json all = report::Json::array();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (arguments.json) {
      report::Json json{{"text", arguments.continuations[i]}, {"prompt_tokens", joined.prompt[i]}};
      json.update(to_json(scores[i], std::span(joined.rest[i]).subspan(joined.first[i])));
      all.push_back(std::move(json));
    } else {
      print_line(scores[i], arguments.continuations[i]);
    }
  }
  if (arguments.json) {
    const report::Json json{{"shared_tokens", joined.shared}, {"continuations", all}};
    fmt::print("{}\n", json.dump(2));
  }
}

int run_score(const ScoreArguments& arguments, const CLI::App& parser) {
  const Tokenizer tokenizer = load_tokenizer(arguments.model.path);
  const std::string text = arguments.prompt.read(parser);
  if (arguments.continuations.empty()) {
    const TokenIds tokens = tokenizer.encode(text);
    score_text(arguments, arguments.model.load(), tokens, text);
  } else {
    const JoinedTokens joined = join(tokenizer, text, arguments.continuations);
    score_continuations(arguments, arguments.model.load(), joined);
  }
  return kOk;
}

}  // namespace

Command add_score(CLI::App& program) {
  auto arguments = std::make_shared<ScoreArguments>();
  CLI::App* parser = program.add_subcommand(
      "score",
      "Prints how probable a text is, or with --continuation how probable each of these is after "
      "it, all computed together: a line \"log-probability perplexity tokens text\" each");
  arguments->model.add_to(*parser);
  arguments->prompt.add_to(*parser, nullptr);
  parser
      ->add_option("--continuation", arguments->continuations,
                   "a text to score after the prompt; may be given several times")
      ->take_all();
  parser->add_flag("--json", arguments->json, "prints one JSON object");
  parser->footer(kExitStatusHelp);
  return {parser, [parser, arguments] { return run_score(*arguments, *parser); }};
}

}  // namespace kvcache::cli
