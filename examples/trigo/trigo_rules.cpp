// The rules of the game as a program, to compare other implementations with: replays games, reads
// TGN, counts legal sequences.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "base/throw_error.hpp"
#include "command_line.hpp"
#include "game/notation.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "program/run.hpp"
#include "program/whole_number.hpp"
#include "rules/perft.hpp"
#include "rules/replayed_game.hpp"

namespace trigo {
namespace {

void print_line(const std::string& line) {
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fputc('\n', stdout);
}

int replay_games() {
  for (std::string line; std::getline(std::cin, line);) {
    kvcache::cli::throw_if_interrupted();
    print_line(replay_line(line));
    std::fflush(stdout);  // who asks may wait for the answer
  }
  return kvcache::cli::kOk;
}

int read_tgn(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file || file.bad()) {
    kvcache::throw_error(kvcache::ErrorCode::invalid_argument, "cannot read the file {}", path);
  }
  const GameRecord record = parse_game(text);
  print_line(replayed_game(record.shape, record.moves));
  return kvcache::cli::kOk;
}

int print_perft(const std::string& board, std::size_t depth) {
  const Shape shape = parse_shape(board);
  const nlohmann::ordered_json counts{{"board", {shape.x, shape.y, shape.z}},
                                      {"sequences", perft(Position(shape), depth)}};
  print_line(counts.dump());
  return kvcache::cli::kOk;
}

int run(int argc, char** argv) {
  CLI::App app(
      "Replays games by the rules of Trigo. Without a subcommand: reads JSON lines such as "
      "{\"board\": [5, 5, 1], \"moves\": [\"aa\", \"Pass\"]} from standard input and answers each "
      "with a line: the legal moves, stones and end of each position, the score and the text.",
      "trigo_rules");
  app.footer(kvcache::cli::kExitStatusHelp);
  app.require_subcommand(0, 1);
  std::string file;
  CLI::App* tgn = app.add_subcommand("tgn", "read a game's text and print the same line of it");
  tgn->add_option("FILE", file, "a .tgn file")->required();
  std::string board = "2x2x1";
  std::size_t depth = 4;
  CLI::App* counting =
      app.add_subcommand("perft", "count the sequences of 1, 2, … legal moves from the beginning");
  counting->add_option("--board", board, "points per axis (default: 2x2x1)");
  counting->add_option("--depth", depth, "the longest sequences (default: 4)")
      ->check(kvcache::cli::whole_number(1, 100));
  if (const auto status = read_arguments(app, argc, argv)) {
    return *status;
  }
  return tgn->parsed()        ? read_tgn(file)
         : counting->parsed() ? print_perft(board, depth)
                              : replay_games();
}

}  // namespace
}  // namespace trigo

int main(int argc, char** argv) {
  return kvcache::cli::run_program([&] { return trigo::run(argc, argv); });
}
