// What a person at a terminal sees while games are played.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "program/progress.hpp"

namespace trigo {

/// How many games are done, and how long the others will take.
class GamesProgress {
 public:
  GamesProgress(std::string_view what, std::size_t games, bool quiet)
      : progress_(quiet), what_(what), games_(games) {
    show();
  }

  void game_done() {
    ++done_;
    show();
  }

 private:
  void show() {
    progress_.show({fmt::format("{}, {} of {} games", what_, done_, games_), done_, games_});
  }

  kvcache::cli::Progress progress_;
  std::string what_;
  std::size_t games_;
  std::size_t done_ = 0;
};

}  // namespace trigo
