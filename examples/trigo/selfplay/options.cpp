#include "selfplay/options.hpp"

#include "program/whole_number.hpp"
#include "selfplay/lease.hpp"

namespace trigo {
namespace {

using kvcache::cli::whole_number;

constexpr std::size_t kMostThreads = 1024;
constexpr std::size_t kMostMoves = 100'000;
constexpr std::size_t kMostCacheMib = std::size_t{1} << 27U;

constexpr const char* kOfGames = "Games";
constexpr const char* kOfPlayers = "Players";
constexpr const char* kOfModels = "Models";
constexpr const char* kOfFiles = "Files";

}  // namespace

void ProgramOptions::add_to(CLI::App& app) {
  auto* play_flag =
      app.add_flag("--play", play, "play a game with a person, whose moves are read from input");
  auto* against_option = app.add_option("--against", against,
                                        "play a match against random, rollouts:N or model:N "
                                        "(N simulations a move), colours alternating");
  app.add_flag("--benchmark", benchmark,
               "measure self-play with 1, 2, 4, … games at once, up to --threads or --in-flight; "
               "--games for each of them")
      ->excludes(play_flag)
      ->excludes(against_option);
  against_option->excludes(play_flag);
  app.add_option("--tactics", tactics,
                 "ask the player for the right move of each position of a file such as "
                 "examples/trigo/tactics.json")
      ->excludes(play_flag)
      ->excludes(against_option);
  app.add_flag(
         "--leases", leases,
         "self-play on demand: for each line FIRST COUNT of standard input, --data's lines of "
         "these games on standard output, until the input ends; the model is loaded once")
      ->excludes(play_flag)
      ->excludes(against_option)
      ->excludes("--benchmark")
      ->excludes("--tactics");
  app.add_flag("--quiet", quiet, "no progress on the terminal while games are played");
  add_games(app);
  add_players(app);
  add_models(app);
  add_files(app);
}

void ProgramOptions::add_games(CLI::App& app) {
  app.add_option("--board", board, "points per axis (default: 5x5x1)")->group(kOfGames);
  app.add_option("--games", games, "games to play (default: 1)")
      ->check(whole_number(1, kMostGameNumber))
      ->excludes("--leases")
      ->group(kOfGames);
  app.add_option("--first-game", first_game,
                 "number of the first of them (default: 0): games 8 to 11 are the same, played "
                 "alone or with those before")
      ->check(whole_number(0, kMostGameNumber))
      ->excludes("--play")
      ->excludes("--benchmark")
      ->excludes("--tactics")
      ->excludes("--leases")
      ->group(kOfGames);
  app.add_option("--max-moves", max_moves, "moves after which a game ends (default: 500)")
      ->check(whole_number(1, kMostMoves))
      ->group(kOfGames);
  app.add_option("--opening", opening,
                 "random moves before the players of a match take over (default: 2); each opening "
                 "is played twice, with colours exchanged")
      ->check(whole_number(0, kMostMoves))
      ->group(kOfGames);
  app.add_option("--colour", colour, "the person's, with --play (default: black)")
      ->check(CLI::IsMember({"black", "white"}))
      ->group(kOfGames);
  auto* threads_option =
      app.add_option("--threads", threads, "threads, with a game each (default: 1)")
          ->check(whole_number(1, kMostThreads))
          ->group(kOfGames);
  app.add_option("--in-flight", in_flight,
                 "games at once whose questions a kvcache::Evaluator runs together, instead of "
                 "--threads")
      ->check(whole_number(1, kMostThreads))
      ->excludes(threads_option)
      ->group(kOfGames);
  app.add_option("--seed", seed, "of all that is left to chance (default: 42)")
      ->check(whole_number(0, static_cast<std::size_t>(-1)))
      ->group(kOfGames);
}

void ProgramOptions::add_players(CLI::App& app) {
  app.add_option("--player", player, "model, rollouts or random (default: model)")
      ->group(kOfPlayers);
  app.add_option("--simulations", simulations,
                 "simulations of each search, beside what the one before left (default: 50)")
      ->check(whole_number(1, kMostSimulations))
      ->group(kOfPlayers);
  app.add_option("--exploration", exploration,
                 "weight of what is less known (default: 1.5, of rollouts 0.7)")
      ->check(CLI::Range(0.0, 100.0))
      ->group(kOfPlayers);
  app.add_option("--noise", noise,
                 "share of Dirichlet noise in the root's priors (default: 0.25 in self-play, 0 "
                 "otherwise)")
      ->check(CLI::Range(0.0, 1.0))
      ->group(kOfPlayers);
  app.add_option("--temperature", temperature,
                 "of the first moves, drawn in proportion to visits^(1/temperature) (default: 1)")
      ->check(CLI::Range(0.0, 100.0))
      ->group(kOfPlayers);
  app.add_option("--temperature-moves", temperature_moves,
                 "how many these are (default: 8 in self-play, 0 otherwise)")
      ->check(whole_number(0, kMostMoves))
      ->group(kOfPlayers);
}

void ProgramOptions::add_models(CLI::App& app) {
  app.add_option("--model", model, "model directory: vocabulary 128, with an output \"value\"")
      ->group(kOfModels);
  app.add_option("--against-model", against_model,
                 "model directory of --against model:N (default: that of --model)")
      ->group(kOfModels);
  app.add_option("--cache", cache, "off: compute every position from nothing (default: on)")
      ->check(CLI::IsMember({"on", "off"}))
      ->group(kOfModels);
  app.add_option("--priors", priors,
                 "ask for a position's priors with its value, in one run, or when it is visited "
                 "again (default: when-needed; with-value where --cache is off or --in-flight "
                 "given)")
      ->check(CLI::IsMember({"with-value", "when-needed"}))
      ->group(kOfModels);
  app.add_option("--model-threads", model_threads, "threads of one run of the model (default: 1)")
      ->check(whole_number(1, kMostThreads))
      ->group(kOfModels);
  app.add_option("--cache-mib", cache_mib,
                 "the most MiB that keys and values may take (default: enough for the searches)")
      ->check(whole_number(1, kMostCacheMib))
      ->group(kOfModels);
  app.add_flag("--no-fused-steps", no_fused_steps,
               "on a GPU, run the graph kernel by kernel or as captured, to compare")
      ->group(kOfModels);
  app.add_option("--block-len", block_len, "tokens per cache block (default: 16)")
      ->check(whole_number(1))
      ->group(kOfModels);
}

void ProgramOptions::add_files(CLI::App& app) {
  app.add_option("--json", json, "write the figures to a file, - for standard output")
      ->excludes("--leases")
      ->group(kOfFiles);
  app.add_option("--data", data, "write training data to a file, a JSON line for each game")
      ->excludes("--leases")
      ->group(kOfFiles);
  app.add_option("--trace", trace, "write each search's tree to a file, a JSON line each")
      ->excludes("--leases")
      ->group(kOfFiles);
  app.add_option("--tgn", tgn, "write each game to a .tgn file in this directory")
      ->excludes("--leases")
      ->group(kOfFiles);
}

GameRules ProgramOptions::rules() const { return {parse_shape(board), max_moves, 0}; }

SelfPlayOptions ProgramOptions::self_play() const {
  return {rules(), numbers(), games_at_once(), seed, !trace.empty()};
}

bool ProgramOptions::priors_when_needed() const noexcept {
  return priors.empty() ? cache == "on" && in_flight == 0 : priors == "when-needed";
}

ModelUse ProgramOptions::model_use(const std::string& directory) const {
  ModelUse use;
  use.directory = directory;
  use.threads = model_threads;
  use.cache = cache == "on" ? kvcache::CacheMode::on : kvcache::CacheMode::off;
  use.cache_bytes = cache_mib << 20U;
  use.block_len = block_len;
  use.fuse_steps = !no_fused_steps;
  return use;
}

}  // namespace trigo
