#include "selfplay/options.hpp"

#include "game/notation.hpp"
#include "program/whole_number.hpp"

namespace trigo {

void ProgramOptions::add_to(CLI::App& app) {
  using kvcache::cli::whole_number;
  app.add_option("--model", model, "model directory: vocabulary 128, with an output \"value\"");
  app.add_option("--board", board, "points per axis (default: 5x5x1)");
  app.add_option("--games", games, "games to play (default: 1)")->check(whole_number(1));
  app.add_option("--simulations", simulations, "simulations of each search (default: 50)")
      ->check(whole_number(1, 1'000'000));
  app.add_option("--threads", threads, "threads, with a game each (default: 1)")
      ->check(whole_number(1, 1024));
  app.add_option("--seed", seed, "of all that is left to chance (default: 42)");
  app.add_option("--max-moves", max_moves, "moves after which a game ends (default: 500)")
      ->check(whole_number(1, 1'000'000));
  app.add_option("--player", player, "model, rollouts or random (default: model)");
  app.add_option("--cache", cache, "off: compute each position from nothing")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--model-threads", model_threads, "threads of one run of the model (default: 1)")
      ->check(whole_number(1, 1024));
  app.add_option("--cache-mib", cache_mib, "the most MiB that keys and values may take")
      ->check(whole_number(1, std::size_t{1} << 27U));
  app.add_option("--block-len", block_len, "tokens per cache block (default: 16)")
      ->check(whole_number(1, 8192));
  app.add_option("--exploration", exploration, "weight of what is less known (default: 1.5)")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--noise", noise, "share of noise in the root's priors (default: 0.25)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--temperature", temperature,
                 "of the first moves, which are drawn by visits^(1/temperature) (default: 1)")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--temperature-moves", temperature_moves, "how many these are (default: 8)")
      ->check(whole_number(0));
  app.add_option("--json", json, "write the figures to a file, - for standard output");
  app.add_option("--data", data, "write training data to a file, a JSON line for each game");
  app.add_option("--trace", trace, "write each search's tree to a file, a JSON line each");
  app.add_option("--tgn", tgn, "write each game to a .tgn file in this directory");
}

GameRules ProgramOptions::rules() const { return {parse_shape(board), max_moves, 0}; }

ModelUse ProgramOptions::model_use() const {
  ModelUse use;
  use.directory = model;
  use.threads = model_threads;
  use.cache = cache == "on" ? kvcache::CacheMode::on : kvcache::CacheMode::off;
  use.cache_bytes = cache_mib << 20U;
  use.block_len = block_len;
  return use;
}

}  // namespace trigo
