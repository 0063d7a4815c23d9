// Who plays, by name, and the models that they think with.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "kvcache/evaluator.hpp"
#include "kvcache/shared_model_inferencer.hpp"
#include "search/player.hpp"

namespace trigo {

inline constexpr std::size_t kMostSimulations = 1'000'000;  // of one search

/// "model:200", "rollouts:1000", "random": who, and simulations a move.
struct PlayerName {
  enum class Kind { model, rollouts, random };

  Kind kind = Kind::model;
  std::size_t simulations = 50;

  bool operator==(const PlayerName&) const = default;
};

/// Reads such a name; "model" and "rollouts" alone have `default_simulations`.
/// @throws kvcache::Error invalid_argument
PlayerName parse_player(std::string_view text, std::size_t default_simulations);
std::string player_text(const PlayerName& name);

/// How a model is loaded for searches.
struct ModelUse {
  std::filesystem::path directory;
  int threads = 1;  // of one run
  kvcache::CacheMode cache = kvcache::CacheMode::on;
  std::size_t cache_bytes = 0;  // 0: room for the searches
  std::size_t block_len = 0;    // 0: for short records
  bool fuse_steps = true;       // on a GPU
};

/// Loads a model with room for `games` searches of `simulations` at a time.
/// @throws kvcache::Error as kvcache::Model::load
kvcache::SharedModelInferencer load_model(const ModelUse& use, std::size_t games,
                                          std::size_t simulations);

/// What of a search differs from what is usual for the player.
struct SearchChanges {
  std::optional<double> exploration;
  double noise = 0;
  MoveChoice choice;
  bool priors_when_needed = false;  // PositionEvaluator::priors_when_needed(), of a model
};

/// A player who, where it needs a model, asks it through an Evaluator or, without one, in its own
/// thread.
/// @throws kvcache::Error as NeuralEvaluator(); invalid_argument where a model is needed and
///         `inferencer` is null
std::unique_ptr<Player> make_player(const PlayerName& name, const SearchChanges& changes,
                                    const kvcache::SharedModelInferencer* inferencer = nullptr,
                                    kvcache::Evaluator* evaluator = nullptr);

}  // namespace trigo
