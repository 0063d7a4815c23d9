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
#include "program/standard_streams.hpp"
#include "selfplay/match.hpp"
#include "selfplay/outputs.hpp"
#include "selfplay/person.hpp"
#include "selfplay/progress.hpp"
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

/// The models of the command line, loaded, and the players who use them.
class Cast {
 public:
  /// Loads the models that `names` need, the second one's its own where there is one. Usual values
  /// of noise and of moves that are drawn hold where the command line says nothing.
  Cast(const ProgramOptions& options, const std::vector<PlayerName>& names, double usual_noise,
       std::size_t usual_drawn_moves)
      : names_(names),
        changes_{options.exploration,
                 options.noise.value_or(usual_noise),
                 {options.temperature.value_or(1),
                  options.temperature_moves.value_or(usual_drawn_moves)}} {
    std::size_t simulations = 0;
    for (const PlayerName& name : names) {
      simulations += name.kind == PlayerName::Kind::model ? name.simulations : 0;
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      const bool own = i > 0 && !options.against_model.empty();
      const std::string& directory = own ? options.against_model : options.model;
      if (names[i].kind != PlayerName::Kind::model || directory.empty()) {
        models_.emplace_back();
      } else if (i > 0 && !own && models_[0]) {
        models_.push_back(models_[0]);
      } else {
        models_.emplace_back(
            load_model(options.model_use(directory), options.games_at_once(), simulations));
      }
    }
  }

  [[nodiscard]] std::unique_ptr<Player> make(std::size_t i = 0) const {
    return make_player(names_[i], changes_, models_[i] ? &*models_[i] : nullptr);
  }
  [[nodiscard]] const PlayerName& name(std::size_t i = 0) const { return names_[i]; }

 private:
  std::vector<PlayerName> names_;
  std::vector<std::optional<kvcache::SharedModelInferencer>> models_;  // of each name
  SearchChanges changes_;
};

constexpr double kNoiseOfSelfPlay = 0.25;
constexpr std::size_t kDrawnMovesOfSelfPlay = 8;

Cast cast_of_self_play(const ProgramOptions& options) {
  return {options,
          {parse_player(options.player, options.simulations)},
          kNoiseOfSelfPlay,
          kDrawnMovesOfSelfPlay};
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
  Progress progress("self-play", options.games);
  const SelfPlayResult result = self_play(
      options.self_play(), [&] { return cast.make(); },
      [&](const PlayedGame& game) {
        outputs.add(game);
        progress.game_done();
      });
  outputs.commit();
  figures.write(to_text(result), described(options, cast.name(), to_json(result)));
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
    kvcache::cli::write_error_line(fmt::format("{} games at once", count));
    SelfPlayOptions play = options.self_play();
    play.threads = count;
    play.games = options.games * count;
    results.emplace_back(count, self_play(
                                    play, [&] { return cast.make(); }, [](const PlayedGame&) {}));
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
                  0, 0);
  MatchOptions match{options.rules(), options.games, options.games_at_once(), options.seed,
                     !options.trace.empty()};
  match.rules.opening = options.opening;
  Progress progress("match", options.games);
  const MatchResult result = play_match(
      match,
      [&] {
        return std::array{cast.make(0), cast.make(1)};
      },
      [&](const PlayedGame& game) {
        outputs.add(game);
        progress.game_done();
      });
  outputs.commit();
  const std::string names[]{player_text(cast.name(0)), player_text(cast.name(1))};
  figures.write(to_text(result, names[0], names[1]),
                described(options, cast.name(0), to_json(result, names[0], names[1])));
  return kvcache::cli::kOk;
}

int run_game_with_person(const ProgramOptions& options) {
  const Cast cast(options, {parse_player(options.player, options.simulations)}, 0, 0);
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
  const Cast cast(options, {parse_player(options.player, options.simulations)}, 0, 0);
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
  return options.benchmark ? run_benchmark(options) : run_self_play(options);
}

}  // namespace trigo
