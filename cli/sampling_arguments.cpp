#include "sampling_arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "logit_bias.hpp"
#include "program/exit_status.hpp"
#include "program/whole_number.hpp"

namespace kvcache::cli {
namespace {

constexpr std::array kCuts{"--top-k", "--top-p", "--min-p", "--typical-p"};

}  // namespace

void SamplingArguments::add_to(CLI::App& command) {
  command.add_option("--temperature", options_.temperature,
                     "draws tokens by chance, from the softmax of logits / temperature; 0: takes "
                     "the largest (default: 0, 1 with another option that draws)");
  command.add_option("--top-k", options_.top_k, "draws from the so many largest logits")
      ->check(whole_number(1));
  command.add_option("--top-p", options_.top_p,
                     "draws from the most probable tokens that make up this share");
  command.add_option("--min-p", options_.min_p,
                     "draws from tokens at least this share as probable as the most probable one");
  command.add_option("--typical-p", options_.typical_p,
                     "draws from the tokens nearest to the average information that make up this "
                     "share");
  command
      .add_option("--seed", options_.seed,
                  "of the random numbers (default: 0); the same seed gives the same text")
      ->check(whole_number(0, std::numeric_limits<std::uint64_t>::max()));
  command.add_option("--repetition-penalty", options_.repetition_penalty,
                     "above 1: tokens of the text so far come less often");
  command.add_option("--frequency-penalty", options_.frequency_penalty,
                     "taken off a new token's logit for each time that it came");
  command.add_option("--presence-penalty", options_.presence_penalty,
                     "taken off a new token's logit once it came");
  command.add_option("--logit-bias", biases_,
                     "added to logits: ID:BIAS,ID:BIAS,…; -inf: the token never comes");
}

SamplingOptions SamplingArguments::parse(const CLI::App& command) const {
  SamplingOptions options = options_;
  if (!biases_.empty()) {
    options.logit_bias = parse_biases(biases_);
  }
  const auto given = [&](const char* name) { return command.count(name) > 0; };
  const auto* const cut = std::ranges::find_if(kCuts, given);
  if (!given("--temperature")) {
    options.temperature = cut != kCuts.end() || given("--seed") ? 1 : 0;
  } else if (options.temperature == 0 && cut != kCuts.end()) {
    throw UsageError(
        fmt::format("{} does nothing at --temperature 0, where the largest logit is taken; leave "
                    "one of the two out",
                    *cut));
  }
  return options;
}

}  // namespace kvcache::cli
