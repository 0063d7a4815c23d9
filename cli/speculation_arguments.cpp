#include "speculation_arguments.hpp"

#include <fmt/format.h>

#include "program/exit_status.hpp"
#include "program/whole_number.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kMaxDrafts = 127;

}  // namespace

void SpeculationArguments::add_to(CLI::App& command) {
  CLI::Option* const lookup = command.add_flag(
      "--prompt-lookup", prompt_lookup_,
      "guesses that the text repeats itself and verifies several tokens in one run: the same "
      "text, sooner where it does");
  command
      .add_option("--draft-model", draft_model_,
                  "the directory of a smaller model of the same vocabulary, which guesses")
      ->excludes(lookup);
  command
      .add_option("--max-drafts", options_.max_drafts,
                  fmt::format("the most guesses in a run; fewer where they are often wrong "
                              "(default: {})",
                              options_.max_drafts))
      ->check(whole_number(1, kMaxDrafts));
}

std::unique_ptr<Drafter> SpeculationArguments::drafter(const ModelArguments& like,
                                                       const ModelInfo& guessed) const {
  if (prompt_lookup_) {
    return std::make_unique<PromptLookup>();
  }
  ModelArguments smaller = like;
  smaller.path = draft_model_;
  const Model model = smaller.load();
  if (model.info().vocab_size != guessed.vocab_size) {
    throw UsageError(fmt::format(
        "--draft-model {} has a vocabulary of {} tokens and the model one of {}; give a model with "
        "the same tokenizer",
        draft_model_.string(), model.info().vocab_size, guessed.vocab_size));
  }
  return std::make_unique<DraftModel>(model);
}

}  // namespace kvcache::cli
