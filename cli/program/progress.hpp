// What a person at a terminal sees while long work goes on: one line, taken away at its end.
// Nothing anywhere else: not in a file or a pipe, and not with --quiet.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>
#include <thread>

namespace kvcache::cli {

/// How far work is.
struct WorkStep {
  std::string what;       // "round 2 of 5"
  std::size_t done = 0;   // parts that are behind it
  std::size_t total = 0;  // 0: nobody knows
};

/// "round 2 of 5  [####................]  20 %, 12 s left": without the bar, and cut, where the
/// terminal is narrow. The time left is what passed, in proportion; of no part done yet none is
/// told.
std::string progress_line(const WorkStep& step, std::chrono::duration<double> passed,
                          std::size_t columns);

/// "12 s", "3 min", "1 h 05 min"
std::string written_duration(std::chrono::duration<double> time);

/// The line of work that says how far it is.
class Progress {
 public:
  explicit Progress(bool quiet);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { take_away(); }

  /// Shows a step, unless the one before was shown a moment ago. Costs a reading of the clock, or
  /// one write: nothing runs beside the work, which may be what is measured.
  void show(const WorkStep& step);

  /// Before anything else is printed.
  void take_away() noexcept;

 private:
  using Clock = std::chrono::steady_clock;

  bool shown_ = false;  // ever
  bool visible_;
  std::size_t total_ = 0;  // of the work whose time is taken
  std::size_t done_at_begin_ = 0;
  Clock::time_point begin_;
  Clock::time_point last_;
};

/// The line of what says nothing of how far it is, such as a load: what is waited for and since
/// when. It appears after a second.
class WaitingLine {
 public:
  WaitingLine(std::string what, bool quiet);
  WaitingLine(const WaitingLine&) = delete;
  WaitingLine& operator=(const WaitingLine&) = delete;
  ~WaitingLine();

 private:
  void wait();

  std::string what_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace kvcache::cli
