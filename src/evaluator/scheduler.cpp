#include "evaluator/scheduler.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "base/lock_awake.hpp"
#include "evaluator/execution.hpp"

namespace kvcache::evaluator {
namespace {

constexpr std::string_view kCancelled =
    "the request was cancelled before its run began; its sequence is as if it had not been made";
constexpr std::string_view kEvaluatorGone =
    "the evaluator was destroyed before the request's run began; its sequence is as if it had not "
    "been made";

constexpr Clock::time_point kNever = Clock::time_point::max();
constexpr std::size_t kMostParts = 8;             // that waiting rows are shared out into
constexpr std::chrono::hours kLongest{24 * 365};  // with which times can be counted

std::size_t runs_at_a_time(const Model& model, const EvaluatorOptions& options) {
  return options.max_runs > 0 ? options.max_runs : model.device() == Device::cuda ? 3 : 1;
}

}  // namespace

/// Holds the lock; then publishes what ended, and wakes the thread if it would sleep too long.
class Scheduler::Scope {
 public:
  explicit Scope(Scheduler& scheduler)
      : lock(scheduler.mutex_, std::defer_lock), scheduler_(scheduler) {
    lock_awake(lock);
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope() {
    const bool wake = scheduler_.asleep_until_ && scheduler_.wake_at() < *scheduler_.asleep_until_;
    lock.unlock();
    if (wake) {
      scheduler_.changed_.notify_all();
    }
    scheduler_.publish(std::move(finished));
  }

  std::unique_lock<std::mutex> lock;
  Finished finished;

 private:
  Scheduler& scheduler_;
};

Scheduler::Scheduler(const Model& model, const EvaluatorOptions& options)
    : options_(options),
      max_delay_(std::clamp<Clock::duration>(options.max_delay, Clock::duration::zero(), kLongest)),
      delivery_([this] {
        const Scope scope(*this);
        backlog_.recorder().count_callback_failed();
      }),
      backlog_(model, options, Clock::now()),
      max_runs_(runs_at_a_time(model, options)),
      splitting_(std::min(max_runs_, kMostParts)),
      thread_([this] { loop(); }) {}

/// Tells that tasks ended. To wake a thread takes some microseconds: of many tasks, whoever is
/// woken for one tells half of the rest, so that the last hears of it after a few of these.
void Scheduler::publish(Finished finished, const Task* own) noexcept {
  constexpr std::size_t kFewest = 4;  // to share out
  Finished callbacks;                 // not shared out: stop() waits for them
  for (auto at = finished.begin(); at != finished.end();) {
    const auto next = std::next(at);
    if ((*at)->callback) {
      callbacks.splice(callbacks.end(), finished, at);
    }
    at = next;
  }
  while (!callbacks.empty()) {
    callbacks.front()->publish();
    delivery_.push(callbacks);
  }
  while (!finished.empty()) {
    Task& task = *finished.front();
    if (task.awaited > 0 && &task != own && finished.size() >= kFewest) {
      const auto half =
          std::next(finished.begin(), 1 + static_cast<std::ptrdiff_t>(finished.size() / 2));
      task.to_tell.splice(task.to_tell.end(), finished, half, finished.end());
    }
    task.publish();
    finished.pop_front();
  }
}

/// Of a task that is done: what its end was to wake this thread for.
void Scheduler::tell_others(Task& task) noexcept {
  if (!task.told.test_and_set(std::memory_order_acquire)) {
    publish(std::move(task.to_tell));
  }
}

void Scheduler::stop() noexcept {
  {
    Scope scope(*this);
    stopping_ = true;
    backlog_.cancel_all(kEvaluatorGone, scope.finished);
  }
  if (thread_.joinable()) {
    thread_.join();
  }
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return runs_ == 0; });
  }
  delivery_.stop();
}

void Scheduler::add(const std::shared_ptr<Task>& task, Clock::time_point now, Finished& finished) {
  backlog_.add(task, now, finished);
  if (stopping_) {
    backlog_.cancel(*task, kEvaluatorGone, finished);
  }
}

void Scheduler::submit(const std::shared_ptr<Task>& task) {
  if (task->callback) {
    delivery_.start();
  }
  const Clock::time_point now = Clock::now();
  Scope scope(*this);
  add(task, now, scope.finished);
}

bool Scheduler::cancel(Task& task) noexcept {
  Scope scope(*this);
  return backlog_.cancel(task, kCancelled, scope.finished);
}

void Scheduler::submit_and_wait(const std::shared_ptr<Task>& task) {
  const Clock::time_point now = Clock::now();
  {
    Scope scope(*this);
    add(task, now, scope.finished);
    block(*task, scope.lock);
  }
  wait_blocked(*task, kNever);
}

void Scheduler::wait(Task& task) { wait_until(task, kNever); }

bool Scheduler::wait_until(Task& task, Clock::time_point end) {
  if (task.completion.done()) {
    return true;
  }
  {
    Scope scope(*this);
    if (end == kNever) {
      block(task, scope.lock);
    } else if (task.stage != Stage::done) {  // a run might last longer than that
      backlog_.clients().block(task);
    }
  }
  return wait_blocked(task, end);
}

/// A thread begins to wait for a task; where a run is due, it makes it.
void Scheduler::block(Task& task, std::unique_lock<std::mutex>& lock) noexcept {
  if (task.stage != Stage::done) {
    backlog_.clients().block(task);
    ++task.awaited;
  }
  while (task.stage != Stage::done && next_run_at() <= Clock::now()) {
    make_run(lock, &task);
  }
}

bool Scheduler::wait_blocked(Task& task, Clock::time_point end) {
  const auto wait = [&](Clock::time_point until) {
    if (until == kNever) {
      task.completion.wait();
      return true;
    }
    return task.completion.wait_until(until);
  };
  const Clock::time_point deadline = task.options.deadline.value_or(kNever);
  bool done = wait(std::min(end, deadline));
  if (!done && deadline <= end) {  // the thread may be in a run: who waits sees to it
    {
      Scope scope(*this);
      backlog_.expire(task, Clock::now(), scope.finished);
    }
    done = wait(end);
  }
  if (end == kNever) {
    tell_others(task);
  }
  if (!done) {
    const Scope scope(*this);
    if (task.stage != Stage::done) {
      backlog_.clients().unblock(task);
    }
  }
  return done;
}

std::shared_ptr<ClientState> Scheduler::add_client() {
  auto client = std::make_shared<ClientState>();
  const Scope scope(*this);
  backlog_.clients().add(*client);
  return client;
}

void Scheduler::remove_client(ClientState& client) noexcept {
  const Scope scope(*this);
  backlog_.clients().remove(client);
}

void Scheduler::set_idle(ClientState& client) noexcept {
  const Scope scope(*this);
  backlog_.clients().set_idle(client, true);
}

Model Scheduler::model() const {
  const std::scoped_lock lock(mutex_);
  return backlog_.versions().newest();
}

std::uint64_t Scheduler::swap_model(Model model) {
  const Scope scope(*this);
  return backlog_.swap_model(model);  // `model` is then the old one, which ends without the lock
}

std::optional<std::uint64_t> Scheduler::hits_of(std::uint64_t key) const {
  const std::scoped_lock lock(mutex_);
  return backlog_.result_cache().hits_of(key);
}

EvaluatorMetrics Scheduler::metrics() const {
  const Clock::time_point now = Clock::now();
  const std::scoped_lock lock(mutex_);
  return backlog_.metrics(now);
}

/// When the next run begins as things are; in the past: at once.
Clock::time_point Scheduler::next_run_at() const noexcept {
  const ReadyQueue& ready = backlog_.ready();
  if (ready.empty() || runs_ >= (crowded_ ? 1 : max_runs_)) {
    return kNever;
  }
  if (ready.rows() >= options_.max_rows || ready.tokens() >= options_.max_tokens ||
      backlog_.clients().all_wait()) {
    return Clock::time_point::min();
  }
  if (runs_ > 0 && splitting_.is_worth_a_run(ready.rows(), backlog_.running(), runs_)) {
    return Clock::time_point::min();
  }
  if (runs_ > 0) {
    return kNever;  // what comes meanwhile goes together
  }
  const Clock::time_point since = ready.oldest().ready_since;
  // Those that the last run answered are about to come back: it is worth while to wait for them.
  return (backlog_.clients().registered() > 0 ? std::max(since, last_run_ended_) : since) +
         max_delay_;
}

Clock::time_point Scheduler::wake_at() const noexcept {
  return stopping_ ? Clock::time_point::min()
                   : std::min(next_run_at(), backlog_.next_expiry().value_or(kNever));
}

void Scheduler::loop() noexcept {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const Clock::time_point now = Clock::now();
    if (Finished finished; backlog_.next_expiry().value_or(kNever) <= now) {
      backlog_.expire_all(now, finished);
      lock.unlock();
      publish(std::move(finished));
      lock.lock();
      continue;
    }
    if (next_run_at() <= now) {
      make_run(lock, nullptr);
      continue;
    }
    asleep_until_ = wake_at();
    if (*asleep_until_ == kNever) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, *asleep_until_);
    }
    asleep_until_.reset();
  }
}

/// Makes a run that is due, and publishes its answers.
void Scheduler::make_run(std::unique_lock<std::mutex>& lock, const Task* own) noexcept {
  // No other run begins beside one that is made because another had found no room.
  const bool alone = crowded_ && runs_ == 0;
  Finished finished;
  std::vector<Task*> tasks;
  std::optional<Execution> execution;
  try {
    tasks = backlog_.take_run(splitting_.most_rows(backlog_.ready().rows(), backlog_.running()));
    execution.emplace(tasks, max_runs_ > 1 && !alone);
  } catch (...) {  // no memory for their lists: back with them, and one less
    backlog_.settle(tasks, Clock::now(), finished);
    backlog_.fail_oldest(finished);
  }
  if (execution) {
    ++runs_;
    const bool wake = asleep_until_ && wake_at() < *asleep_until_;  // for the other half
    lock.unlock();
    if (wake) {
      changed_.notify_all();
    }

    execution->run();
    lock_awake(lock);
    --runs_;
    const Clock::time_point now = Clock::now();
    last_run_ended_ = now;
    const bool put_off =
        std::ranges::any_of(tasks, [](const Task* task) { return task->outcome == nullptr; });
    crowded_ = max_runs_ > 1 && (put_off || (crowded_ && !alone));
    splitting_.count(tasks.size(), now);
    for (const RunRecord& record : execution->records()) {
      backlog_.recorder().count_run(record, now);
    }
    backlog_.settle(tasks, now, finished);
    if (stopping_) {
      backlog_.cancel_all(kEvaluatorGone, finished);
      changed_.notify_all();
    }
  }
  lock.unlock();
  publish(std::move(finished), own);
  lock_awake(lock);
}

}  // namespace kvcache::evaluator
