#include "program/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <utility>

#include "program/standard_streams.hpp"

namespace kvcache::cli {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::size_t kBarLength = 20;
constexpr std::size_t kUsualColumns = 80;
constexpr std::chrono::milliseconds kBetweenLines{100};
constexpr std::chrono::seconds kBeforeWaitingLine{1};

bool is_shown(bool quiet) {
  const char* terminal = std::getenv("TERM");
  return !quiet && ::isatty(STDERR_FILENO) == 1 && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

std::size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                           : kUsualColumns;
}

/// Bytes of a text that fill so many columns, a character each.
std::string cut(const std::string& text, std::size_t columns) {
  std::size_t at = 0;
  for (std::size_t seen = 0; at < text.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U;
    if (begins && ++seen > columns) {
      break;
    }
  }
  return text.substr(0, at);
}

/// Columns that a text fills, a character each.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; }));
}

}  // namespace

std::string written_duration(Seconds time) {
  const auto seconds = static_cast<std::size_t>(std::lround(std::clamp(time.count(), 0.0, 1e9)));
  if (seconds < 100) {
    return fmt::format("{} s", seconds);
  }
  const std::size_t minutes = (seconds + 30) / 60;
  return minutes < 100 ? fmt::format("{} min", minutes)
                       : fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
}

std::string progress_line(const WorkStep& step, Seconds passed, std::size_t columns) {
  std::string line = step.what;
  for (char& letter : line) {
    if (static_cast<unsigned char>(letter) < 0x20U || letter == 0x7F) {
      letter = '?';  // a name with a line feed or worse
    }
  }
  if (step.total > 0) {
    const double share =
        static_cast<double>(std::min(step.done, step.total)) / static_cast<double>(step.total);
    const auto full = static_cast<std::size_t>(share * kBarLength);
    const std::string bar =
        fmt::format("[{}{}] ", std::string(full, '#'), std::string(kBarLength - full, '.'));
    std::string figures = fmt::format("{:3.0f} %", share * 100);
    if (share > 0 && share < 1) {
      figures += fmt::format(", {} left", written_duration(passed * (1 - share) / share));
    }
    // Where there is little room, first the bar goes and then the end of the words.
    const std::size_t words = width_of(line) + 2;
    if (words + bar.size() + figures.size() <= columns) {
      figures = bar + figures;
    }
    const std::size_t room = columns > figures.size() + 2 ? columns - figures.size() - 2 : 0;
    line = cut(line, room) + "  " + figures;
  }
  return cut(line, columns);
}

Progress::Progress(bool quiet)
    : visible_(is_shown(quiet)), begin_(Clock::now()), last_(begin_ - kBetweenLines) {}

void Progress::show(const WorkStep& step) {
  if (!visible_) {
    return;
  }
  const Clock::time_point now = Clock::now();
  if (step.total != total_ || step.done <= done_at_begin_) {  // other work, or its beginning
    total_ = step.total;
    done_at_begin_ = step.done;
    begin_ = now;
  }
  if (shown_ && now - last_ < kBetweenLines && step.done > done_at_begin_) {
    return;
  }
  shown_ = true;
  last_ = now;
  // What was done before the clock ran says nothing of the speed.
  const double parts = static_cast<double>(step.done - done_at_begin_);
  const Seconds passed =
      Seconds(now - begin_) * (parts > 0 ? static_cast<double>(step.done) / parts : 0);
  show_status_line(progress_line(step, passed, terminal_columns() - 1));
}

void Progress::take_away() noexcept {
  if (visible_) {
    clear_status_line();
  }
}

WaitingLine::WaitingLine(std::string what, bool quiet) : what_(std::move(what)) {
  if (!is_shown(quiet)) {
    return;
  }
  // Signals are the main thread's, whose calls they are to interrupt.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { wait(); });
  } catch (const std::system_error&) {  // no thread to be had: no line
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

WaitingLine::~WaitingLine() {
  if (!thread_.joinable()) {
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  thread_.join();
  clear_status_line();
}

void WaitingLine::wait() {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kBeforeWaitingLine, [this] { return ended_; })) {
    const Seconds passed = std::chrono::steady_clock::now() - begin;
    show_status_line(progress_line({fmt::format("{}, {}", what_, written_duration(passed))}, passed,
                                   terminal_columns() - 1));
  }
}

}  // namespace kvcache::cli
