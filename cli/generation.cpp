#include "generation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>

#include "generate_report.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "program/standard_streams.hpp"
#include "timed_constraint.hpp"
#include "token_list.hpp"

namespace kvcache::cli {
namespace {

/// What ends a text by itself: the model's stop tokens, or every special token that it can give
/// where it names none.
std::vector<TokenId> stop_tokens_of(const Tokenizer& tokenizer, const ModelInfo& model) {
  std::vector<TokenId> tokens = model.stop_token_ids;
  if (!tokens.empty()) {
    return tokens;
  }
  for (std::size_t id = 0; id < std::min(model.vocab_size, tokenizer.vocab_size()); ++id) {
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
    if (begun_) {
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

/// A generation: the arguments made into what the library takes.
class Generation {
 public:
  Generation(const GenerateArguments& arguments, const SamplingOptions& sampling,
             std::optional<Tokenizer> tokenizer, std::vector<TokenId> prompt)
      : arguments_(arguments),
        tokenizer_(std::move(tokenizer)),
        prompt_(std::move(prompt)),
        model_(arguments.model.load()) {
    options_ = options_of(arguments, sampling, tokenizer_ ? &*tokenizer_ : nullptr, model_.info());
    if (arguments.constraint.given()) {
      constraint_ = std::make_unique<TimedConstraint>(
          arguments.constraint.constraint(options_, model_.info()), constraint_time_);
      options_.constraint = constraint_.get();
    }
    if (arguments.speculation.given()) {
      drafter_ = arguments.speculation.drafter(arguments.model, model_.info());
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
    if (constraint_) {
      report_.constraint_seconds = constraint_time_.seconds();
    }
    print_report();
    return kOk;
  }

 private:
  void generate_in(Sequence& sequence) {
    if (arguments_.beams > 0) {
      search_in(sequence);
      return;
    }
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

  void search_in(Sequence& sequence) {
    report_.prompt_tokens += prompt_.size();
    report_.time = Stopwatch();
    report_.beams = beam_search(sequence, prompt_,
                                {.beams = arguments_.beams,
                                 .max_new_tokens = arguments_.max_new_tokens,
                                 .length_penalty = arguments_.length_penalty,
                                 .stop_tokens = options_.stop_tokens,
                                 .tokenizer = options_.tokenizer,
                                 .constraint = options_.constraint},
                                [&] { return noted(); });
    report_.time.token();  // the last of each
    report_.cache = model_.cache_stats();
  }

  template <typename AnySequence>
  void generate_one(AnySequence& sequence) {
    report_.prompt_tokens += prompt_.size();
    std::optional<Printer> printer;
    if (!arguments_.json) {
      printer.emplace(report_.with_text);
    }
    report_.time = Stopwatch();
    report_.texts = {generated_in(sequence, [&](const NewToken& token) {
      const bool go_on = noted();
      if (printer) {
        printer->print(token);
      }
      return go_on;
    })};
    report_.cache = model_.cache_stats();
  }

  Generated generated_in(Sequence& sequence, const NewTokenCallback& on_token) {
    if (!drafter_) {
      return generate(sequence, prompt_, options_, on_token);
    }
    return generate(sequence, prompt_, options_, *drafter_, arguments_.speculation.options(),
                    &report_.speculation.emplace(), on_token);
  }

  Generated generated_in(WindowedSequence& sequence, const NewTokenCallback& on_token) {
    return generate(sequence, prompt_, options_, on_token);
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
    if (report_.texts.size() != 1) {
      print_texts(report_);
    }
    flush_standard_output();
    write_error_line(describe(report_));
  }

  const GenerateArguments& arguments_;
  std::optional<Tokenizer> tokenizer_;  // of a text
  std::vector<TokenId> prompt_;
  Model model_;
  std::unique_ptr<Drafter> drafter_;  // where tokens are guessed
  ConstraintTime constraint_time_;
  std::unique_ptr<Constraint> constraint_;  // where the text has to be something
  GenerateOptions options_;
  GenerationReport report_;
};

}  // namespace

std::vector<ChatMessage> first_messages(const GenerateArguments& arguments) {
  std::vector<ChatMessage> messages;
  if (!arguments.system.empty()) {
    messages.push_back({"system", arguments.system});
  }
  return messages;
}

GenerateOptions options_of(const GenerateArguments& arguments, const SamplingOptions& sampling,
                           const Tokenizer* tokenizer, const ModelInfo& model) {
  GenerateOptions options{.max_new_tokens = arguments.max_new_tokens,
                          .sampling = sampling,
                          .stop_strings = arguments.stop_strings,
                          .tokenizer = tokenizer,
                          .log_probabilities = arguments.log_probabilities};
  if (!arguments.stop_tokens.empty()) {
    options.stop_tokens = parse_ids(arguments.stop_tokens, "--stop-tokens");
  }
  if (tokenizer != nullptr && !arguments.ignore_stop_tokens) {
    const auto more = stop_tokens_of(*tokenizer, model);
    options.stop_tokens.insert(options.stop_tokens.end(), more.begin(), more.end());
  }
  return options;
}

int run_generation(const GenerateArguments& arguments, const SamplingOptions& sampling,
                   std::optional<Tokenizer> tokenizer, std::vector<TokenId> prompt) {
  return Generation(arguments, sampling, std::move(tokenizer), std::move(prompt)).run();
}

}  // namespace kvcache::cli
