#include "selfplay/report.hpp"

#include <fmt/format.h>

#include "report/table.hpp"

namespace trigo {
namespace {

double per_second(std::size_t count, double seconds) {
  return seconds == 0 ? 0 : static_cast<double>(count) / seconds;
}

double mean(const kvcache::Histogram& histogram) {
  const std::uint64_t count = histogram.count();
  return count == 0 ? 0 : histogram.sum / static_cast<double>(count);
}

Json parts_of(const SelfPlayResult& result) {
  Json parts;
  for (std::size_t i = 0; i < kPartNames.size(); ++i) {
    parts[kPartNames[i]] = result.parts.of(static_cast<Part>(i)).count();
  }
  return parts;
}

}  // namespace

Json to_json(const SelfPlayResult& result) {
  return {{"games", result.games},
          {"moves", result.moves},
          {"searches", result.searches},
          {"evaluations", result.evaluations},
          {"seconds", result.seconds},
          {"ms_per_move", result.ms_per_move()},
          {"share_of_game_logic", result.share_of_game_logic()},
          {"positions_per_s", per_second(result.simulated, result.seconds)},
          {"evaluations_per_s", per_second(result.evaluations, result.seconds)},
          {"moves_per_s", per_second(result.moves, result.seconds)},
          {"games_per_s", per_second(result.games, result.seconds)},
          {"seconds_by_part", parts_of(result)},
          {"seconds_in_games", result.game_seconds},
          {"black_wins", result.black_wins},
          {"white_wins", result.white_wins},
          {"ties", result.games - result.black_wins - result.white_wins},
          {"visit_hash", fmt::format("{:016x}", result.visit_hash)}};
}

std::string to_text(const SelfPlayResult& result) {
  std::string text = fmt::format(
      "{} games, {} moves, {:.2f} ms a move; {:.0f} positions/s, {:.0f} evaluations/s; Black won "
      "{}, White {}\n",
      result.games, result.moves, result.ms_per_move(),
      per_second(result.simulated, result.seconds), per_second(result.evaluations, result.seconds),
      result.black_wins, result.white_wins);
  text += fmt::format("of the games' time {:.1f} % was game logic",  //
                      100 * result.share_of_game_logic());
  for (std::size_t i = 0; i < kPartNames.size(); ++i) {
    text += fmt::format(", {} {:.1f} %", kPartNames[i],
                        100 * result.parts.of(static_cast<Part>(i)).count() / result.game_seconds);
  }
  return text + fmt::format("\nvisits {:016x}\n", result.visit_hash);
}

Json to_json(const kvcache::EvaluatorMetrics& metrics) {
  return {{"runs", metrics.runs},
          {"rows_per_run", mean(metrics.rows_per_run)},
          {"tokens_per_run", mean(metrics.tokens_per_run)},
          {"run_ms", 1e3 * mean(metrics.run_seconds)},
          {"queue_ms", 1e3 * mean(metrics.queue_seconds)},
          {"queue_ms_at_most", 1e3 * metrics.queue_seconds.largest},
          {"joined", metrics.joined}};
}

std::string to_text(const kvcache::EvaluatorMetrics& metrics) {
  return fmt::format("{} runs of {:.1f} rows and {:.0f} tokens, {:.2f} ms each; {:.2f} ms queued\n",
                     metrics.runs, mean(metrics.rows_per_run), mean(metrics.tokens_per_run),
                     1e3 * mean(metrics.run_seconds), 1e3 * mean(metrics.queue_seconds));
}

Json to_json(const MatchResult& result, const std::string& first, const std::string& second) {
  return {{"player", first},
          {"against", second},
          {"games", result.games()},
          {"wins", result.won()},
          {"losses", result.losses[0] + result.losses[1]},
          {"ties", result.ties[0] + result.ties[1]},
          {"wins_as_black", result.wins[0]},
          {"wins_as_white", result.wins[1]},
          {"moves", result.moves},
          {"seconds", result.seconds}};
}

std::string to_text(const MatchResult& result, const std::string& first,
                    const std::string& second) {
  return fmt::format("{} against {}: won {} of {} ({} as Black, {} as White), lost {}, {} ties\n",
                     first, second, result.won(), result.games(), result.wins[0], result.wins[1],
                     result.losses[0] + result.losses[1], result.ties[0] + result.ties[1]);
}

std::string throughput_table(const std::vector<std::pair<std::size_t, SelfPlayResult>>& results) {
  kvcache::report::Table table(
      {"Games at once", "ms a move", "Positions/s", "Evaluations/s", "Games/s", "Speed-up"});
  for (const auto& [at_once, result] : results) {
    const SelfPlayResult& first = results.front().second;
    table.add_row({fmt::format("{}", at_once), fmt::format("{:.2f}", result.ms_per_move()),
                   fmt::format("{:.0f}", per_second(result.simulated, result.seconds)),
                   fmt::format("{:.0f}", per_second(result.evaluations, result.seconds)),
                   fmt::format("{:.2f}", per_second(result.games, result.seconds)),
                   fmt::format("{:.2f}x", per_second(result.simulated, result.seconds) /
                                              per_second(first.simulated, first.seconds))});
  }
  return table.to_string();
}

}  // namespace trigo
