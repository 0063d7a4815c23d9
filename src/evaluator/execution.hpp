// One gathered run: each task gets its answer or its error.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "evaluator/recorder.hpp"
#include "evaluator/task.hpp"

namespace kvcache::evaluator {

/// Runs tasks that all are of one engine and in stage `running`, without any lock. A task that has
/// no outcome afterwards is put off: it found no cache block or no memory beside the others and is
/// to be run again.
///
/// What is wrong with a task is found before the run and fails it alone. Where a run fails, its
/// rows are run again in two halves, and so on down to single ones, whose errors are theirs. A task
/// for which there is no block fails only if it is the first of its run and no other run may be
/// under way, and is put off otherwise. So the first task of a call that is alone always gets an
/// outcome, and whoever calls again with the rest comes to an end.
class Execution {
 public:
  /// `beside_others`: another run is under way, or may begin meanwhile.
  /// @throws std::bad_alloc before anything has run
  Execution(std::span<Task* const> tasks, bool beside_others);

  void run() noexcept;

  /// The runs that were made, failed ones too.
  [[nodiscard]] std::span<const RunRecord> records() const noexcept { return records_; }

 private:
  void run_part(std::span<Task* const> tasks);

  void fail_or_put_off(Task& task, bool first) const noexcept;

  std::span<Task* const> tasks_;
  bool beside_others_;
  std::vector<RunRecord> records_;
};

}  // namespace kvcache::evaluator
