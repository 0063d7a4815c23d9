// One run of kvcache generate: from its arguments to what it prints.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "constraint_arguments.hpp"
#include "sampling_arguments.hpp"
#include "speculation_arguments.hpp"
#include "text_input.hpp"

namespace kvcache::cli {

struct GenerateArguments {
  ModelArguments model;
  IdsArgument ids;
  PromptArguments prompt;
  WindowArguments window;
  SamplingArguments sampling;
  SpeculationArguments speculation;
  ConstraintArguments constraint;
  std::size_t max_new_tokens = 0;
  std::size_t samples = 1;
  std::size_t beams = 0;  // 0: no search
  double length_penalty = BeamOptions().length_penalty;
  std::vector<std::string> stop_strings;
  std::string stop_tokens;  // ids
  bool ignore_stop_tokens = false;
  std::optional<std::size_t> log_probabilities;
  std::filesystem::path load_state;
  std::filesystem::path save_state;
  bool json = false;
  bool interactive = false;
  bool chat = false;
  std::string system;  // what the system says first in a chat

  // What was given, once the command line is parsed.
  bool is_text = false;
  bool windowed = false;
};

/// The messages that a chat begins with, before anything was asked.
std::vector<ChatMessage> first_messages(const GenerateArguments& arguments);

/// What the arguments ask of the library. The tokenizer, null for tokens alone, outlives it.
/// @throws UsageError for --stop-tokens that are none
GenerateOptions options_of(const GenerateArguments& arguments, const SamplingOptions& sampling,
                           const Tokenizer* tokenizer, const ModelInfo& model);

/// Generates after `prompt` and prints it, as a text where there is a tokenizer; returns the exit
/// status.
/// @throws Error as Model::load, Model::load_sequence, generate(), beam_search(), Sequence::save
int run_generation(const GenerateArguments& arguments, const SamplingOptions& sampling,
                   std::optional<Tokenizer> tokenizer, std::vector<TokenId> prompt);

}  // namespace kvcache::cli
