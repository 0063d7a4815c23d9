// The models of a command line, loaded, and the players who use them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvcache/evaluator.hpp"
#include "kvcache/shared_model_inferencer.hpp"
#include "selfplay/options.hpp"
#include "selfplay/players.hpp"

namespace trigo {

/// What holds where the command line says nothing.
struct UsualChanges {
  double noise = 0;
  std::size_t drawn_moves = 0;
};

class Cast {
 public:
  /// Loads the models of the players who need one, the second one's own where there is one.
  /// @throws kvcache::Error as kvcache::Model::load
  Cast(const ProgramOptions& options, const std::vector<PlayerName>& names,
       const UsualChanges& usual);

  /// A player for one thread, who must not outlive this. Any thread may ask.
  /// @throws kvcache::Error invalid_argument where the player needs a model and there is none, or
  ///         one that is not of the game
  [[nodiscard]] std::unique_ptr<Player> make(std::size_t i = 0) const;

  [[nodiscard]] const PlayerName& name(std::size_t i = 0) const { return roles_[i].name; }

  /// Of the Evaluator of a player's model; nothing where questions are run directly.
  [[nodiscard]] std::optional<kvcache::EvaluatorMetrics> metrics(std::size_t i = 0) const;

 private:
  struct SharedModel {
    kvcache::SharedModelInferencer inferencer;
    std::unique_ptr<kvcache::Evaluator> evaluator;  // null: each thread runs its questions
  };
  struct Role {
    PlayerName name;
    std::shared_ptr<SharedModel> model;  // null: none is needed, or none was named
  };

  std::vector<Role> roles_;
  SearchChanges changes_;
};

}  // namespace trigo
