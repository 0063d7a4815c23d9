// When a run begins, and the thread that makes it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "evaluator/backlog.hpp"
#include "evaluator/delivery.hpp"
#include "evaluator/run_splitting.hpp"
#include "evaluator/task.hpp"
#include "kvcache/evaluator.hpp"

namespace kvcache::evaluator {

/// Thread-safe. No lock is held while the model runs, while sequences and models end, or while
/// callbacks are called.
///
/// One run is under way at a time, or up to three on a GPU. Whoever waits when it is due makes it,
/// so that a client that asks and waits needs no other thread to be woken; the scheduler's own
/// thread makes those that become due in time, or while nobody waits.
class Scheduler {
 public:
  /// @throws Error invalid_argument; std::system_error, std::bad_alloc
  Scheduler(const Model& model, const EvaluatorOptions& options);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler() { stop(); }

  /// Cancels what waits, waits for the runs under way and for all callbacks. What is submitted
  /// later is cancelled, too.
  void stop() noexcept;

  /// @throws std::bad_alloc; std::system_error for the first callback
  void submit(const std::shared_ptr<Task>& task);

  /// The client of all who are not registered.
  [[nodiscard]] const std::shared_ptr<ClientState>& others() const noexcept { return others_; }

  bool cancel(Task& task) noexcept;

  void wait(Task& task);
  bool wait_until(Task& task, Clock::time_point end);

  /// submit() and wait(), which wake no other thread where the run is due at once.
  void submit_and_wait(const std::shared_ptr<Task>& task);

  [[nodiscard]] std::shared_ptr<ClientState> add_client();
  void remove_client(ClientState& client) noexcept;
  void set_idle(ClientState& client) noexcept;

  [[nodiscard]] Model model() const;
  std::uint64_t swap_model(Model model);
  [[nodiscard]] std::optional<std::uint64_t> hits_of(std::uint64_t key) const;
  [[nodiscard]] EvaluatorMetrics metrics() const;

 private:
  class Scope;
  void add(const std::shared_ptr<Task>& task, Clock::time_point now, Finished& finished);
  void block(Task& task, std::unique_lock<std::mutex>& lock) noexcept;
  bool wait_blocked(Task& task, Clock::time_point end);
  void publish(Finished finished, const Task* own = nullptr) noexcept;
  void tell_others(Task& task) noexcept;
  void loop() noexcept;
  void make_run(std::unique_lock<std::mutex>& lock, const Task* own) noexcept;
  [[nodiscard]] Clock::time_point next_run_at() const noexcept;
  [[nodiscard]] Clock::time_point wake_at() const noexcept;

  const EvaluatorOptions options_;
  const Clock::duration max_delay_;
  const std::shared_ptr<ClientState> others_ = std::make_shared<ClientState>();
  Delivery delivery_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Backlog backlog_;
  bool stopping_ = false;
  const std::size_t max_runs_;
  RunSplitting splitting_;
  std::size_t runs_ = 0;  // under way, in whichever threads
  bool crowded_ = false;  // one found no room beside another: the next will be alone
  Clock::time_point last_run_ended_{};
  std::optional<Clock::time_point> asleep_until_;  // the thread's, unless it is busy
  std::thread thread_;                             // last: it uses what is above
};

}  // namespace kvcache::evaluator
