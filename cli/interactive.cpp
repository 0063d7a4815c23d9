#include "interactive.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
#include "program/whole_number.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kMaxTurns = 1'000'000;

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
          run_command(line);
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
  struct Command {
    const char* name;
    const char* argument;
    const char* help;
    void (Conversation::*run)(const std::string& argument);
  };

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

  void run_command(const std::string& line) {
    const std::size_t space = std::min(line.find(' '), line.size());
    const std::string name = line.substr(1, space - 1);
    const std::string argument = line.substr(std::min(space + 1, line.size()));
    const auto* const command = std::ranges::find(kCommands, name, &Command::name);
    if (command == kCommands.end()) {
      throw UsageError(fmt::format("{} is no command; /help lists them", in_quotes("/" + name)));
    }
    if (command->argument == std::string_view() && !argument.empty()) {
      throw UsageError(fmt::format("/{} takes nothing after it", name));
    }
    (this->*command->run)(argument);
  }

  void rewind(const std::string& argument) {
    if (!argument.empty() && !is_whole_number(argument, 1, kMaxTurns)) {
      throw UsageError(fmt::format("/rewind: {} is not a whole number from 1 to {}",
                                   in_quotes(argument), kMaxTurns));
    }
    const std::size_t count = argument.empty() ? 1 : std::stoul(argument);
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
    if (name.empty() || texts_.contains(name)) {
      throw UsageError(name.empty()
                           ? "/fork: give the copy's name"
                           : fmt::format("/fork: there is a text {} already; /switch goes to it",
                                         in_quotes(name)));
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

  void list_texts(const std::string& /*argument*/) {
    for (const auto& [name, other] : texts_) {
      fmt::print("{} {}: {} turns, {} tokens\n", name == current_ ? "*" : " ", name,
                 other.turns.size(), other.sequence.length());
    }
  }

  void show_history(const std::string& /*argument*/) {
    fmt::print("{}\n", tokenizer_.decode(text().sequence.tokens()));
  }

  void save(const std::string& path) {
    if (path.empty()) {
      throw UsageError("/save: give the file's name");
    }
    text().sequence.save(path);
  }

  void load(const std::string& path) {
    if (path.empty()) {
      throw UsageError("/load: give the file's name");
    }
    if (chat_) {
      throw UsageError("/load: a saved state has tokens and no messages, so that no chat goes on");
    }
    text() = Text{model_.load_sequence(path), {}, {}};
  }

  void help(const std::string& /*argument*/) {
    for (const Command& command : kCommands) {
      fmt::print("/{} {:<{}} {}\n", command.name, command.argument,
                 10 - std::string_view(command.name).size(), command.help);
    }
  }

  void quit(const std::string& /*argument*/) { running_ = false; }

  static constexpr std::size_t kNumCommands = 9;
  static const std::array<Command, kNumCommands> kCommands;

  const Tokenizer& tokenizer_;
  Model model_;
  std::optional<ChatTemplate> chat_;        // where lines are messages
  std::unique_ptr<Constraint> constraint_;  // where each answer has to be something
  GenerateOptions options_;
  std::map<std::string, Text> texts_;
  std::string current_ = "main";
  bool running_ = true;
};

constexpr std::array<Conversation::Command, Conversation::kNumCommands> Conversation::kCommands{{
    {"rewind", "[N]", "takes the last N turns back (1)", &Conversation::rewind},
    {"fork", "NAME", "goes on in a copy of the text; nothing is computed", &Conversation::fork},
    {"switch", "NAME", "goes to another text", &Conversation::switch_to},
    {"texts", "", "lists the texts, * the one that goes on", &Conversation::list_texts},
    {"history", "", "prints the whole text", &Conversation::show_history},
    {"save", "FILE", "saves the text with its keys and values", &Conversation::save},
    {"load", "FILE", "goes on after a saved text", &Conversation::load},
    {"help", "", "prints this", &Conversation::help},
    {"quit", "", "ends, as the end of the input does", &Conversation::quit},
}};

}  // namespace

int run_interactive(const GenerateArguments& arguments, const SamplingOptions& sampling,
                    const Tokenizer& tokenizer) {
  return Conversation(arguments, sampling, tokenizer).run();
}

}  // namespace kvcache::cli
