#include "constraint_arguments.hpp"

#include <fmt/format.h>

#include <string_view>

#include "arguments.hpp"
#include "kvcache/choices.hpp"
#include "program/exit_status.hpp"
#include "text_input.hpp"
#include "token_list.hpp"

namespace kvcache::cli {
namespace {

/// A line ends with a line feed, also with a carriage return before it; the last one need not.
std::vector<std::string> lines_of(std::string_view text, const std::filesystem::path& file) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.empty()) {
      throw UsageError(fmt::format("--choices: line {} of {} is empty; each line is a choice",
                                   lines.size() + 1, file.string()));
    }
    lines.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

void ConstraintArguments::add_to(CLI::App& command) {
  CLI::Option* const choice =
      command
          .add_option("--choice", choices_,
                      "the text has to be this one, or another choice; may be given several times. "
                      "With --ids, the ids of its tokens")
          ->take_all();
  command.add_option("--choices", file_, "reads the choices from this file, each line one of them")
      ->check(not_empty())
      ->excludes(choice);
}

std::unique_ptr<Constraint> ConstraintArguments::constraint(const GenerateOptions& options,
                                                            const ModelInfo& model) const {
  if (!given()) {
    return nullptr;
  }
  const std::vector<std::string> texts = choices();
  if (options.tokenizer != nullptr) {
    return one_of(texts, TokenBytes(*options.tokenizer, model.vocab_size, options.stop_tokens));
  }
  std::vector<std::vector<TokenId>> sequences;
  sequences.reserve(texts.size());
  for (const std::string& ids : texts) {
    sequences.push_back(parse_ids(ids, file_.empty() ? "--choice" : "--choices"));
  }
  return one_of(sequences, model.vocab_size);
}

std::vector<std::string> ConstraintArguments::choices() const {
  return file_.empty() ? choices_ : lines_of(read_text(file_), file_);
}

}  // namespace kvcache::cli
