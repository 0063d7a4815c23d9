#include "selfplay/players.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"
#include "program/whole_number.hpp"
#include "search/neural_evaluator.hpp"
#include "search/rollout.hpp"
#include "search/shared_evaluator.hpp"

namespace trigo {
namespace {

using kvcache::ErrorCode;
using kvcache::throw_error;

constexpr double kExplorationOfRollouts = 0.7;
constexpr std::size_t kDefaultBlockLen = 16;  // a node of a search owns one block or two
constexpr std::size_t kBytesPerToken = std::size_t{16}
                                       << 10U;  // keys and values, 6 layers, up to 340 wide

}  // namespace

PlayerName parse_player(std::string_view text, std::size_t default_simulations) {
  const auto colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  PlayerName name;
  name.simulations = default_simulations;
  bool known = true;
  if (kind == "model") {
    name.kind = PlayerName::Kind::model;
  } else if (kind == "rollouts") {
    name.kind = PlayerName::Kind::rollouts;
  } else {
    name.kind = PlayerName::Kind::random;
    name.simulations = 0;
    known = text == "random";
  }
  if (known && colon != std::string_view::npos) {
    const auto number =
        kvcache::cli::read_whole_number(text.substr(colon + 1), 1, kMostSimulations);
    known = number.has_value();
    name.simulations = number.value_or(0);
  }
  if (!known) {
    throw_error(ErrorCode::invalid_argument,
                "{} is no player; there are random, and model:N and rollouts:N with N simulations "
                "a move, 1 to {}",
                kvcache::in_quotes(text), kMostSimulations);
  }
  return name;
}

std::string player_text(const PlayerName& name) {
  switch (name.kind) {
    case PlayerName::Kind::model:
      return fmt::format("model:{}", name.simulations);
    case PlayerName::Kind::rollouts:
      return fmt::format("rollouts:{}", name.simulations);
    case PlayerName::Kind::random:
      break;
  }
  return "random";
}

kvcache::SharedModelInferencer load_model(const ModelUse& use, std::size_t games,
                                          std::size_t simulations) {
  kvcache::ModelOptions options;
  options.num_threads = use.threads;
  options.runs_before_move = 0;
  options.fuse_steps = use.fuse_steps;
  options.block_len = use.block_len != 0 ? use.block_len : kDefaultBlockLen;
  options.cache_bytes = use.cache_bytes;
  if (options.cache_bytes == 0) {
    // Of the nodes of a search, each with two blocks of its own, some are kept for the next one.
    // These are addresses, not memory.
    const std::size_t block_bytes = options.block_len * kBytesPerToken;
    options.cache_bytes = games * (4 * simulations + 256) * 2 * block_bytes;
  }
  return kvcache::SharedModelInferencer(kvcache::Model::load(use.directory, options), use.cache);
}

std::unique_ptr<Player> make_player(const PlayerName& name, const SearchChanges& changes,
                                    const kvcache::SharedModelInferencer* inferencer,
                                    kvcache::Evaluator* evaluator) {
  SearchOptions options;
  options.simulations = name.simulations;
  options.noise = changes.noise;
  options.exploration = changes.exploration.value_or(options.exploration);
  switch (name.kind) {
    case PlayerName::Kind::random:
      return std::make_unique<RandomPlayer>();
    case PlayerName::Kind::rollouts:
      options.selection = Selection::uct;
      options.exploration = changes.exploration.value_or(kExplorationOfRollouts);
      options.noise = 0;  // there are no priors
      return std::make_unique<SearchPlayer>(std::make_unique<RolloutEvaluator>(), options,
                                            changes.choice);
    case PlayerName::Kind::model:
      break;
  }
  if (inferencer == nullptr) {
    throw_error(ErrorCode::invalid_argument,
                "the player {} needs a model; name its directory with --model, or choose another "
                "player with --player",
                player_text(name));
  }
  std::unique_ptr<PositionEvaluator> asked;
  if (evaluator != nullptr) {
    asked = std::make_unique<SharedEvaluator>(*inferencer, *evaluator, changes.priors_when_needed);
  } else {
    asked = std::make_unique<DirectEvaluator>(*inferencer, changes.priors_when_needed);
  }
  return std::make_unique<SearchPlayer>(std::move(asked), options, changes.choice);
}

}  // namespace trigo
