// The command line of trigo_selfplay.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "selfplay/played_game.hpp"
#include "selfplay/players.hpp"
#include "selfplay/self_play.hpp"

namespace trigo {

/// Options as they were given; what depends on what is done is empty where it was not.
struct ProgramOptions {
  // What is done: self-play unless one of these says otherwise.
  bool play = false;
  bool benchmark = false;
  bool leases = false;
  bool quiet = false;
  std::string against;
  std::string tactics;

  // Games.
  std::string board = "5x5x1";
  std::size_t games = 1;
  std::size_t first_game = 0;
  std::size_t max_moves = 500;
  std::size_t opening = 2;
  std::string colour = "black";
  std::size_t threads = 1;
  std::size_t in_flight = 0;
  std::uint64_t seed = 42;

  // Players.
  std::string player = "model";
  std::size_t simulations = 50;
  std::optional<double> exploration;
  std::optional<double> noise;
  std::optional<double> temperature;
  std::optional<std::size_t> temperature_moves;

  // Models.
  std::string model;
  std::string against_model;
  std::string cache = "on";
  std::string priors;
  int model_threads = 1;
  std::size_t cache_mib = 0;
  std::size_t block_len = 0;
  bool no_fused_steps = false;

  // Files.
  std::string json;
  std::string data;
  std::string trace;
  std::string tgn;

  void add_to(CLI::App& app);

  [[nodiscard]] std::size_t games_at_once() const noexcept {
    return in_flight != 0 ? in_flight : threads;
  }
  /// @throws kvcache::Error as parse_shape()
  [[nodiscard]] GameRules rules() const;
  [[nodiscard]] GameNumbers numbers() const noexcept { return {first_game, games}; }
  [[nodiscard]] SelfPlayOptions self_play() const;
  /// Fewer tokens, or fewer runs.
  [[nodiscard]] bool priors_when_needed() const noexcept;
  [[nodiscard]] ModelUse model_use(const std::string& directory) const;

 private:
  void add_games(CLI::App& app);
  void add_players(CLI::App& app);
  void add_models(CLI::App& app);
  void add_files(CLI::App& app);
};

}  // namespace trigo
