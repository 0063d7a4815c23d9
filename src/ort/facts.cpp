#include "ort/facts.hpp"

#include <fmt/ranges.h>

#include <string_view>

#include "base/throw_error.hpp"

namespace kvcache::ort {
namespace {

template <typename Said, typename Found>
[[noreturn]] void mismatch(const model::Config& config, std::string_view field, const Said& said,
                           std::string_view what, const Found& found) {
  throw_error(ErrorCode::config_mismatch,
              "config.json of {} says {} {}, but {} of the graph {}; export the model again",
              config.directory.string(), field, said, what, found);
}

void check_size(const model::Config& config, std::string_view field, std::size_t said,
                std::string_view what, std::int64_t found) {
  if (found != static_cast<std::int64_t>(said)) {
    mismatch(config, field, said, what, fmt::format("has {}", found));
  }
}

/// A position or token beyond its table would be read from whatever lies behind it.
void check_embedding(const model::Config& config, const GraphFacts::Embedding& embedding) {
  const ModelInfo& info = config.info;
  check_size(config, "max_seq_len", info.max_seq_len, "the position table", embedding.max_seq_len);
  check_size(config, "vocab_size", info.vocab_size, "the token table", embedding.vocab_size);
  check_size(config, "hidden_size", info.hidden_size, "a token's row", embedding.hidden_size);
}

/// "none" for no types.
std::string join(const std::set<std::string>& types) {
  return types.empty() ? "none" : fmt::format("{}", fmt::join(types, ", "));
}

void check_types(const model::Config& config, const GraphFacts& facts) {
  const ModelInfo& info = config.info;
  // Overrides may name other types for all matrices of a kind.
  if (!facts.weights.contains(info.weights) && !config.weights_overridden) {
    mismatch(config, "weights", info.weights, "the matrices",
             fmt::format("are {}", join(facts.weights)));
  }
  const bool rounds = info.activations != data_type_name(info.dtype);
  const bool as_said = rounds ? facts.rounded_to == std::set{info.activations} ||
                                    (facts.rounded_to.empty() && config.weights_overridden)
                              : facts.rounded_to.empty();
  if (!as_said) {
    mismatch(config, "activations", info.activations, "the products",
             fmt::format("round them to {}", join(facts.rounded_to)));
  }
}

}  // namespace

void check_facts(const GraphFacts& facts, const model::Config& config) {
  if (facts.embedding) {
    check_embedding(config, *facts.embedding);
  }
  if (!facts.weights.empty()) {
    check_types(config, facts);
  }
}

}  // namespace kvcache::ort
