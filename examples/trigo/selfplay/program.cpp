#include "selfplay/program.hpp"

#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/atomic_file.hpp"
#include "game/notation.hpp"
#include "program/exit_status.hpp"
#include "program/standard_streams.hpp"
#include "selfplay/records.hpp"
#include "selfplay/self_play.hpp"

namespace trigo {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const SelfPlayResult& result) {
  const auto per_second = [&](std::size_t count) {
    return static_cast<double>(count) / result.seconds;
  };
  Json parts;
  for (std::size_t i = 0; i < kPartNames.size(); ++i) {
    parts[kPartNames[i]] = result.parts.of(static_cast<Part>(i)).count();
  }
  return {{"games", result.games},
          {"moves", result.moves},
          {"searches", result.searches},
          {"seconds", result.seconds},
          {"ms_per_move", result.ms_per_move()},
          {"share_of_game_logic", result.share_of_game_logic()},
          {"positions_per_s", per_second(result.simulated)},
          {"evaluations_per_s", per_second(result.evaluations)},
          {"moves_per_s", per_second(result.moves)},
          {"games_per_s", per_second(result.games)},
          {"seconds_by_part", std::move(parts)},
          {"black_wins", result.black_wins},
          {"white_wins", result.white_wins},
          {"visit_hash", fmt::format("{:016x}", result.visit_hash)}};
}

}  // namespace

int run_self_play(const ProgramOptions& options) {
  const PlayerName name = parse_player(options.player, options.simulations);
  std::optional<kvcache::SharedModelInferencer> inferencer;
  if (name.kind == PlayerName::Kind::model && !options.model.empty()) {
    inferencer.emplace(load_model(options.model_use(), options.threads, name.simulations));
  }
  SearchOptions search = search_options(name, options.noise);
  if (options.exploration > 0) {
    search.exploration = options.exploration;
  }
  const MoveChoice choice{options.temperature, options.temperature_moves};
  const SelfPlayOptions play{options.rules(), options.games, options.threads, options.seed,
                             !options.trace.empty()};
  const SelfPlayResult result = self_play(
      play, [&] { return make_player(name, search, choice, inferencer ? &*inferencer : nullptr); },
      [](const PlayedGame&) {});
  std::cout << json_of(result).dump(1) << '\n';
  return kvcache::cli::kOk;
}

}  // namespace trigo
