#include "interactive.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/checked_json.hpp"
#include "generate_report.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "program/run.hpp"
#include "program/standard_streams.hpp"
#include "slash_command.hpp"

namespace kvcache::cli {
namespace {

/// A text, and where its turns began.
struct Text {
  Sequence sequence;
  std::vector<std::size_t> turns;     // the length before each
  std::vector<ChatMessage> messages;  // of a chat
};

constexpr std::size_t kMessagesOfATurn = 2;

class Conversation {
 public:
  Conversation(const GenerateArguments& arguments, const SamplingOptions& sampling,
               const Tokenizer& tokenizer)
      : tokenizer_(tokenizer),
        model_(arguments.model.load()),
        options_(options_of(arguments, sampling, &tokenizer, model_.info())) {
    if (arguments.constraint.given()) {
      constraint_ = arguments.constraint.constraint(options_, model_.info());
      options_.constraint = constraint_.get();
    }
    if (arguments.chat) {
      chat_ = load_chat_template(arguments.model.path);
    }
    texts_.emplace("main",
                   Text{arguments.load_state.empty() ? model_.new_sequence()
                                                     : model_.load_sequence(arguments.load_state),
                        {},
                        first_messages(arguments)});
  }

  int run() {
    std::string line;
    while (running_ && read_line(line)) {
      try {
        if (line.starts_with('/')) {
          run_command(parse_slash_command(line));
        } else if (!line.empty()) {
          take_turn(line);
        }
      } catch (const Error& error) {  // the text is as before
        flush_standard_output();
        report_error(error.what(), exit_status(error.code()));
      }
      throw_if_interrupted();
    }
    throw_if_interrupted();
    return kOk;
  }

 private:
  [[nodiscard]] Text& text() { return texts_.at(current_); }

  static bool read_line(std::string& line) {
    if (::isatty(STDIN_FILENO) == 1) {
      fmt::print("> ");
    }
    flush_standard_output();
    return static_cast<bool>(std::getline(std::cin, line));
  }

  /// Appends a line and prints what follows. The whole text is in the sequence then. What fails
  /// leaves the text as it was: a turn is taken on a fork.
  void take_turn(const std::string& line) {
    Text next{text().sequence.fork(), text().turns, text().messages};
    next.turns.push_back(next.sequence.length());
    const std::vector<TokenId> tokens = tokens_of_turn(next, line);
    GenerationReport report;
    report.prompt_tokens = tokens.size();
    try {
      report.texts = {generate(next.sequence, tokens, options_, [&](const NewToken& token) {
        report.time.token();
        fmt::print("{}", token.text);
        flush_standard_output();
        return !interrupted();
      })};
      next.sequence.extend({&report.texts.front().tokens.back(), 1});
    } catch (...) {
      fmt::print("\n");
      throw;
    }
    if (chat_) {
      next.messages.push_back({"assistant", report.texts.front().text});
    }
    text() = std::move(next);
    fmt::print("\n");
    flush_standard_output();
    report.cache = model_.cache_stats();
    write_error_line(describe(report));
  }

  /// What a line adds to the text. In a chat it is a message, and the sequence is taken back to
  /// where the conversation's tokens differ from its own: at its end, but for templates that write
  /// what was said earlier otherwise, and after /rewind.
  std::vector<TokenId> tokens_of_turn(Text& next, const std::string& line) const {
    if (!chat_) {
      return tokenizer_.encode(line, {.add_special_tokens = next.sequence.length() == 0});
    }
    next.messages.push_back({"user", line});
    std::vector<TokenId> all = chat_->encode(tokenizer_, next.messages);
    const auto same = static_cast<std::size_t>(
        std::ranges::mismatch(all, next.sequence.tokens()).in1 - all.begin());
    const std::size_t kept = std::min(same, all.size() - 1);
    next.sequence.rewind(kept);
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(kept));
    return all;
  }

  void run_command(const SlashCommand& command) {
    switch (command.kind) {
      case SlashCommandKind::rewind:
        return rewind(command.turns);
      case SlashCommandKind::fork:
        return fork(command.argument);
      case SlashCommandKind::switch_to:
        return switch_to(command.argument);
      case SlashCommandKind::texts:
        return list_texts();
      case SlashCommandKind::history:
        return show_history();
      case SlashCommandKind::save:
        return text().sequence.save(command.argument);
      case SlashCommandKind::load:
        return load(command.argument);
      case SlashCommandKind::help:
        return help();
      case SlashCommandKind::quit:
        running_ = false;
    }
  }

  void rewind(std::size_t count) {
    std::vector<std::size_t>& turns = text().turns;
    if (count > turns.size()) {
      throw UsageError(
          fmt::format("/rewind: {} turns are more than the text's {}", count, turns.size()));
    }
    const std::size_t first = turns.size() - count;
    Sequence& sequence = text().sequence;
    sequence.rewind(std::min(turns[first], sequence.length()));
    turns.resize(first);
    if (chat_) {
      text().messages.resize(text().messages.size() - kMessagesOfATurn * count);
    }
  }

  void fork(const std::string& name) {
    if (texts_.contains(name)) {
      throw UsageError(
          fmt::format("/fork: there is a text {} already; /switch goes to it", in_quotes(name)));
    }
    texts_.emplace(name, Text{text().sequence.fork(), text().turns, text().messages});
    current_ = name;
  }

  void switch_to(const std::string& name) {
    if (!texts_.contains(name)) {
      throw UsageError(
          fmt::format("/switch: there is no text {}; /texts lists them", in_quotes(name)));
    }
    current_ = name;
  }

  void list_texts() {
    for (const auto& [name, other] : texts_) {
      fmt::print("{} {}: {} turns, {} tokens\n", name == current_ ? "*" : " ", name,
                 other.turns.size(), other.sequence.length());
    }
  }

  void show_history() {
    fmt::print("{}\n", tokenizer_.decode(text().sequence.tokens(), {.skip_unknown_ids = true}));
  }

  void load(const std::string& path) {
    if (chat_) {
      throw UsageError("/load: a saved state has tokens and no messages, so that no chat goes on");
    }
    text() = Text{model_.load_sequence(path), {}, {}};
  }

  static void help() {
    for (const SlashCommandHelp& command : slash_commands()) {
      fmt::print("/{} {:<{}} {}\n", command.name, command.argument, 10 - command.name.size(),
                 command.help);
    }
  }

  const Tokenizer& tokenizer_;
  Model model_;
  std::optional<ChatTemplate> chat_;        // where lines are messages
  std::unique_ptr<Constraint> constraint_;  // where each answer has to be something
  GenerateOptions options_;
  std::map<std::string, Text> texts_;
  std::string current_ = "main";
  bool running_ = true;
};

}  // namespace

int run_interactive(const GenerateArguments& arguments, const SamplingOptions& sampling,
                    const Tokenizer& tokenizer) {
  return Conversation(arguments, sampling, tokenizer).run();
}

}  // namespace kvcache::cli
