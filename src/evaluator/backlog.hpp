// All requests that are not answered yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "evaluator/clients.hpp"
#include "evaluator/in_flight.hpp"
#include "evaluator/lanes.hpp"
#include "evaluator/ready_queue.hpp"
#include "evaluator/recorder.hpp"
#include "evaluator/result_cache.hpp"
#include "evaluator/task.hpp"
#include "evaluator/versions.hpp"
#include "kvcache/evaluator.hpp"

namespace kvcache::evaluator {

/// Where each task is and what becomes of it. Not thread-safe: the scheduler's, under its lock.
/// Those that end enter a list of the caller's, to be published without the lock.
class Backlog {
 public:
  Backlog(const Model& model, const EvaluatorOptions& options, Clock::time_point now);

  /// Takes a task on; it may end at once.
  /// @throws std::bad_alloc; nothing has changed then
  void add(const std::shared_ptr<Task>& task, Clock::time_point now, Finished& finished);

  /// Ends a task that has not begun to run; whether it had not.
  bool cancel(Task& task, std::string_view why, Finished& finished) noexcept;
  bool expire(Task& task, Clock::time_point now, Finished& finished) noexcept;

  /// Ends those whose deadline has passed.
  void expire_all(Clock::time_point now, Finished& finished) noexcept;

  /// Ends all that have not begun to run.
  void cancel_all(std::string_view why, Finished& finished) noexcept;

  /// The next run, of `most_rows` at most; its tasks are `running` until settle().
  std::vector<Task*> take_run(std::size_t most_rows);

  /// After a run: ends its tasks, and puts those off that have no outcome.
  void settle(const std::vector<Task*>& tasks, Clock::time_point now, Finished& finished) noexcept;

  /// Ends the task that has been ready longest with the error that is being handled.
  void fail_oldest(Finished& finished) noexcept;

  [[nodiscard]] const ReadyQueue& ready() const noexcept { return ready_; }
  [[nodiscard]] std::size_t running() const noexcept { return running_; }
  [[nodiscard]] std::optional<Clock::time_point> next_expiry() const noexcept;

  [[nodiscard]] const Versions& versions() const noexcept { return versions_; }
  std::uint64_t swap_model(Model& model);

  [[nodiscard]] const ResultCache& result_cache() const noexcept { return result_cache_; }
  Clients& clients() noexcept { return clients_; }
  [[nodiscard]] const Clients& clients() const noexcept { return clients_; }
  Recorder& recorder() noexcept { return recorder_; }
  [[nodiscard]] EvaluatorMetrics metrics(Clock::time_point now) const;

 private:
  void prepare_woken(Clock::time_point now, Finished& finished) noexcept;
  void prepare(Task& task, Clock::time_point now);
  bool answer_from_cache(Task& task, Clock::time_point now, Finished& finished) noexcept;
  bool join(Task& task) noexcept;
  void fail(Task& task, ErrorCode code, std::string_view message, Finished& finished) noexcept;
  void end(Task& task, std::shared_ptr<const Outcome> outcome, Finished& finished) noexcept;
  void leave_queues(Task& task) noexcept;
  void end_followers(Task& leader, Finished& finished) noexcept;
  void hand_on_to_follower(Task& leader) noexcept;

  std::size_t max_waiting_;
  RunLimits limits_;
  Versions versions_;
  ResultCache result_cache_;
  Recorder recorder_;
  Clients clients_;
  Finished tasks_;  // all of them
  Lanes lanes_;
  InFlight in_flight_;
  ReadyQueue ready_;
  Expiries expiries_;
  std::list<Task*> woken_;  // became ready, but are not prepared yet
  std::size_t running_ = 0;
  std::uint64_t next_number_ = 0;
};

}  // namespace kvcache::evaluator
