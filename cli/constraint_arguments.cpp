#include "constraint_arguments.hpp"

#include "arguments.hpp"
#include "choices_file.hpp"
#include "kvcache/choices.hpp"
#include "kvcache/grammar.hpp"
#include "program/exit_status.hpp"
#include "text_input.hpp"
#include "token_list.hpp"

namespace kvcache::cli {
void ConstraintArguments::add_to(CLI::App& command) {
  CLI::Option* const choice =
      command
          .add_option("--choice", choices_,
                      "the text has to be this one, or another choice; may be given several times. "
                      "With --ids, the ids of its tokens")
          ->take_all();
  CLI::Option* const choices = command.add_option(
      "--choices", file_, "reads the choices from this file, each line one of them");
  choices->check(not_empty())->excludes(choice);
  CLI::Option* const regex = command.add_option(
      "--regex", regex_, "the text has to match this regular expression as a whole");
  regex->check(not_empty())->excludes(choice)->excludes(choices);
  command
      .add_option("--json-schema", json_schema_,
                  "the text has to be JSON that this schema allows: a file, or the schema itself, "
                  "which begins with {")
      ->check(not_empty())
      ->excludes(choice)
      ->excludes(choices)
      ->excludes(regex);
}

std::unique_ptr<Constraint> ConstraintArguments::constraint(const GenerateOptions& options,
                                                            const ModelInfo& model) const {
  if (!given()) {
    return nullptr;
  }
  if (regex_.empty() && json_schema_.empty()) {
    return one_of_choices(options, model);
  }
  if (options.tokenizer == nullptr) {
    throw UsageError(
        "--regex and --json-schema are about a text, and --ids gives tokens; give a --prompt, or "
        "--choice with ids");
  }
  const GrammarCompiler compiler(
      TokenBytes(*options.tokenizer, model.vocab_size, options.stop_tokens));
  return regex_.empty() ? compiler.json_schema(json_schema()) : compiler.regex(regex_);
}

std::unique_ptr<Constraint> ConstraintArguments::one_of_choices(const GenerateOptions& options,
                                                                const ModelInfo& model) const {
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

std::string ConstraintArguments::json_schema() const {
  const std::size_t begin = json_schema_.find_first_not_of(" \t\r\n");
  const bool is_schema = begin != std::string::npos && json_schema_[begin] == '{';
  return is_schema ? json_schema_ : read_text(json_schema_);
}

std::vector<std::string> ConstraintArguments::choices() const {
  return file_.empty() ? choices_ : parse_choices(read_text(file_), file_);
}

}  // namespace kvcache::cli
