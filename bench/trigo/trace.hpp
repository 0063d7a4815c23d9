// What a search of Trigo asked of its model: the files of ../shared/trigo's kind, read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "kvcache/types.hpp"

namespace trigo_bench {

/// A position that the search expands (priors of its moves) or whose value it reads.
struct Request {
  enum class Kind { policy, value };

  Kind kind;
  std::string shape;                     // of the board, such as 5x5
  std::vector<std::string> moves;        // that led to the position
  std::vector<kvcache::TokenId> tokens;  // policy: the tree of the legal moves' characters,
  std::vector<std::int32_t> parents;     // which follows the text and the number
};

struct Search {
  bool first_of_game = false;
  std::vector<Request> requests;
};

/// Reads a trace: a line each for `game`, `move`, `search`, `policy` and `value` (with the tokens
/// of the position's text), and behind a `policy` its `tree` and `parents`.
/// @throws kvcache::Error invalid_argument naming the line and what is wrong with it
std::vector<Search> read_trace(const std::filesystem::path& path);

/// The text of a position after `count` of its moves, as the rules write it: "\x01[Board 5x5]\n\n",
/// "N. " and Black's move and a space, White's move and a newline.
std::string text_of(const Request& request, std::size_t count);

/// "N. " where Black is to move after `count` moves, else nothing.
std::string number_of(std::size_t count);

std::vector<kvcache::TokenId> tokens_of(const std::string& text);

}  // namespace trigo_bench
