// The command line of trigo_selfplay.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <string>

#include "selfplay/played_game.hpp"
#include "selfplay/players.hpp"

namespace trigo {

struct ProgramOptions {
  std::string model;
  std::string board = "5x5x1";
  std::size_t games = 1;
  std::size_t simulations = 50;
  std::size_t threads = 1;
  std::uint64_t seed = 42;
  std::size_t max_moves = 500;
  std::string player = "model";
  std::string cache = "on";
  int model_threads = 1;
  std::size_t cache_mib = 0;
  std::size_t block_len = 0;

  double exploration = 0;
  double noise = 0.25;
  double temperature = 1;
  std::size_t temperature_moves = 8;

  std::string json;
  std::string data;
  std::string trace;
  std::string tgn;

  void add_to(CLI::App& app);

  [[nodiscard]] GameRules rules() const;
  [[nodiscard]] ModelUse model_use() const;
};

}  // namespace trigo
