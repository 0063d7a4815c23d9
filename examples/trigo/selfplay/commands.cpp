#include "selfplay/commands.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <utility>
#include <vector>

#include "base/atomic_file.hpp"
#include "game/notation.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "program/standard_streams.hpp"
#include "selfplay/cast.hpp"
#include "selfplay/lease.hpp"
#include "selfplay/match.hpp"
#include "selfplay/outputs.hpp"
#include "selfplay/person.hpp"
#include "selfplay/progress.hpp"
#include "selfplay/records.hpp"
#include "selfplay/report.hpp"
#include "selfplay/self_play.hpp"
#include "selfplay/tactics.hpp"

namespace trigo {
namespace {

/// Figures as text on standard output, or as JSON where --json says.
class Figures {
 public:
  explicit Figures(const std::string& name) : to_output_(name == "-") {
    if (!name.empty() && !to_output_) {
      file_.emplace(name);
    }
  }

  void write(const std::string& text, const Json& json) {
    if (file_) {
      file_->write(json.dump(1) + "\n");
      file_->commit();
    }
    std::cout << (to_output_ ? json.dump(1) + "\n" : text);
  }

 private:
  bool to_output_;
  std::optional<kvcache::AtomicFile> file_;
};

constexpr UsualChanges kUsualInSelfPlay{0.25, 8};

Cast cast_of_self_play(const ProgramOptions& options) {
  return {options, {parse_player(options.player, options.simulations)}, kUsualInSelfPlay};
}

/// What the games were played with, in front of what came of them.
Json described(const ProgramOptions& options, const PlayerName& player, const Json& result) {
  Json json{{"player", player_text(player)},  {"model", options.model},
            {"board", options.board},         {"simulations", player.simulations},
            {"threads", options.threads},     {"seed", options.seed},
            {"max_moves", options.max_moves}, {"cache", options.cache}};
  json.update(result);
  return json;
}

int run_self_play(const ProgramOptions& options) {
  Figures figures(options.json);
  Outputs outputs({options.data, options.trace, options.tgn});
  const Cast cast = cast_of_self_play(options);
  std::optional<GamesProgress> progress(std::in_place, "self-play", options.games, options.quiet);
  const SelfPlayResult result = self_play(
      options.self_play(), [&] { return cast.make(); },
      [&](const PlayedGame& game) {
        outputs.add(game);
        progress->game_done();
      });
  progress.reset();
  outputs.commit();
  Json json = to_json(result);
  std::string text = to_text(result);
  if (const auto metrics = cast.metrics()) {
    json["evaluator"] = to_json(*metrics);
    text += to_text(*metrics);
  }
  figures.write(text, described(options, cast.name(), json));
  return kvcache::cli::kOk;
}

int run_leases(const ProgramOptions& options) {
  const Cast cast = cast_of_self_play(options);
  SelfPlayOptions play = options.self_play();
  for (std::string line; std::getline(std::cin, line);) {
    kvcache::cli::throw_if_interrupted();
    play.games = parse_lease(line);
    self_play(
        play, [&] { return cast.make(); },
        [](const PlayedGame& game) { std::cout << data_line(game); });
    std::cout.flush();
    kvcache::cli::flush_standard_output();  // who asks waits for it, and an error is told
  }
  return kvcache::cli::kOk;
}

int run_benchmark(const ProgramOptions& options) {
  Figures figures(options.json);
  const Cast cast = cast_of_self_play(options);
  const std::size_t most = options.games_at_once();
  std::vector<std::size_t> counts;
  for (std::size_t count = 1; count < most; count *= 2) {
    counts.push_back(count);
  }
  counts.push_back(most);
  std::vector<std::pair<std::size_t, SelfPlayResult>> results;
  Json rows = Json::array();
  for (const std::size_t count : counts) {
    SelfPlayOptions play = options.self_play();
    play.threads = count;
    play.games = {0, options.games * count};
    GamesProgress progress(fmt::format("{} at once", count), play.games.count, options.quiet);
    results.emplace_back(count, self_play(
                                    play, [&] { return cast.make(); },
                                    [&](const PlayedGame&) { progress.game_done(); }));
    rows.push_back(to_json(results.back().second));
    rows.back()["games_at_once"] = count;
  }
  figures.write(throughput_table(results), described(options, cast.name(), {{"rows", rows}}));
  return kvcache::cli::kOk;
}

int run_match(const ProgramOptions& options) {
  Figures figures(options.json);
  Outputs outputs({options.data, options.trace, options.tgn});
  const Cast cast(options,
                  {parse_player(options.player, options.simulations),
                   parse_player(options.against, options.simulations)},
                  {});
  MatchOptions match{options.rules(), options.numbers(), options.games_at_once(), options.seed,
                     !options.trace.empty()};
  match.rules.opening = options.opening;
  std::optional<GamesProgress> progress(std::in_place, "match", options.games, options.quiet);
  const MatchResult result = play_match(
      match,
      [&] {
        return std::array{cast.make(0), cast.make(1)};
      },
      [&](const PlayedGame& game) {
        outputs.add(game);
        progress->game_done();
      });
  progress.reset();
  outputs.commit();
  const std::string names[]{player_text(cast.name(0)), player_text(cast.name(1))};
  figures.write(to_text(result, names[0], names[1]),
                described(options, cast.name(0), to_json(result, names[0], names[1])));
  return kvcache::cli::kOk;
}

int run_game_with_person(const ProgramOptions& options) {
  const Cast cast(options, {parse_player(options.player, options.simulations)}, {});
  const auto opponent = cast.make();
  const Colour colour = options.colour == "white" ? Colour::white : Colour::black;
  const PlayedGame game =
      play_with_person(*opponent, colour, options.rules(), options.seed, std::cin, std::cout);
  Outputs({"", "", options.tgn}).add(game);
  return kvcache::cli::kOk;
}

int run_tactics(const ProgramOptions& options) {
  Figures figures(options.json);
  const std::vector<Tactic> tactics = read_tactics(options.tactics);
  const Cast cast(options, {parse_player(options.player, options.simulations)}, {});
  const auto player = cast.make();
  std::size_t found = 0;
  std::string text;
  Json rows = Json::array();
  for (const Tactic& tactic : tactics) {
    const TacticAnswer answer = answer_to(tactic, *player, options.seed);
    found += answer.right ? 1U : 0U;
    const std::string move = move_text(tactic.shape, answer.found);
    text += fmt::format("{:5} {} plays {}; {}\n", answer.right ? "right" : "wrong", tactic.name,
                        move, tactic.why);
    rows.push_back({{"name", tactic.name},
                    {"found", move},
                    {"right", answer.right},
                    {"share", answer.share},
                    {"value", answer.value},
                    {"value_of_others", answer.others}});
  }
  text += fmt::format("{} of {} found\n", found, tactics.size());
  figures.write(text, described(options, cast.name(),
                                {{"found", found}, {"of", tactics.size()}, {"tactics", rows}}));
  return kvcache::cli::kOk;
}

}  // namespace

int run_command(const ProgramOptions& options) {
  if (!options.tactics.empty()) {
    return run_tactics(options);
  }
  if (options.play) {
    return run_game_with_person(options);
  }
  if (!options.against.empty()) {
    return run_match(options);
  }
  if (options.leases) {
    return run_leases(options);
  }
  return options.benchmark ? run_benchmark(options) : run_self_play(options);
}

}  // namespace trigo
