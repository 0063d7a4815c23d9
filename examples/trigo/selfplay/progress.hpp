// What a person reads while games are played.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <string_view>

#include "program/standard_streams.hpp"

namespace trigo {

/// Says on standard error how many games are done, every few seconds: nothing of short work.
class Progress {
 public:
  Progress(std::string_view what, std::size_t games) : what_(what), games_(games) {}

  void game_done() {
    ++done_;
    const auto now = Clock::now();
    if (now - said_ >= kInterval) {
      said_ = now;
      const std::chrono::duration<double> passed = now - begin_;
      const double left =
          passed.count() / static_cast<double>(done_) * static_cast<double>(games_ - done_);
      kvcache::cli::write_error_line(
          fmt::format("{}: {} of {} games, {:.0f} s left", what_, done_, games_, left));
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kInterval{5};

  std::string_view what_;
  std::size_t games_;
  std::size_t done_ = 0;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point said_ = begin_;
};

}  // namespace trigo
