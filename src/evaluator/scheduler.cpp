#include "evaluator/scheduler.hpp"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "evaluator/execution.hpp"

namespace kvcache::evaluator {
namespace {

constexpr std::string_view kCancelled =
    "the request was cancelled before its run began; its sequence is as if it had not been made";
constexpr std::string_view kEvaluatorGone =
    "the evaluator was destroyed before the request's run began; its sequence is as if it had not "
    "been made";

constexpr Clock::time_point kNever = Clock::time_point::max();

}  // namespace

/// Calls action(finished) with the lock, then publishes what ended and wakes the thread if it would
/// sleep too long.
template <typename Action>
auto Scheduler::locked(const Action& action) {
  struct Unlocked {
    Scheduler& scheduler;
    Finished finished;
    std::unique_lock<std::mutex> lock;

    ~Unlocked() {
      const bool wake = scheduler.asleep_until_ && scheduler.wake_at() < *scheduler.asleep_until_;
      lock.unlock();
      if (wake) {
        scheduler.changed_.notify_one();
      }
      scheduler.publish(std::move(finished));
    }
  } scope{*this, {}, std::unique_lock(mutex_)};
  return action(scope.finished);
}

Scheduler::Scheduler(const Model& model, const EvaluatorOptions& options)
    : options_(options),
      delivery_(
          [this] { locked([this](Finished&) { backlog_.recorder().count_callback_failed(); }); }),
      backlog_(model, options, Clock::now()),
      thread_([this] { loop(); }) {}

void Scheduler::publish(Finished finished) noexcept {
  while (!finished.empty()) {
    Task& task = *finished.front();
    const bool has_callback = task.callback != nullptr;
    task.publish();
    if (has_callback) {
      delivery_.push(finished);
    } else {
      finished.pop_front();
    }
  }
}

void Scheduler::stop() noexcept {
  locked([this](Finished& finished) {
    stopping_ = true;
    backlog_.cancel_all(kEvaluatorGone, finished);
  });
  if (thread_.joinable()) {
    thread_.join();
  }
  delivery_.stop();
}

void Scheduler::submit(const std::shared_ptr<Task>& task) {
  if (task->callback) {
    delivery_.start();
  }
  const Clock::time_point now = Clock::now();
  locked([&](Finished& finished) {
    backlog_.add(task, now, finished);
    if (stopping_) {
      backlog_.cancel(*task, kEvaluatorGone, finished);
    }
  });
}

bool Scheduler::cancel(Task& task) noexcept {
  return locked([&](Finished& finished) { return backlog_.cancel(task, kCancelled, finished); });
}

void Scheduler::wait(Task& task) { wait_until(task, kNever); }

bool Scheduler::wait_until(Task& task, Clock::time_point end) {
  if (task.completion.done()) {
    return true;
  }
  locked([&](Finished&) {
    if (task.stage != Stage::done) {
      backlog_.clients().block(task);
    }
  });
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
    locked([&](Finished& finished) { backlog_.expire(task, Clock::now(), finished); });
    done = wait(end);
  }
  if (!done) {
    locked([&](Finished&) {
      if (task.stage != Stage::done) {
        backlog_.clients().unblock(task);
      }
    });
  }
  return done;
}

std::shared_ptr<ClientState> Scheduler::add_client() {
  auto client = std::make_shared<ClientState>();
  locked([&](Finished&) { backlog_.clients().add(*client); });
  return client;
}

void Scheduler::remove_client(ClientState& client) noexcept {
  locked([&](Finished&) { backlog_.clients().remove(client); });
}

void Scheduler::set_idle(ClientState& client) noexcept {
  locked([&](Finished&) { backlog_.clients().set_idle(client, true); });
}

Model Scheduler::model() const {
  const std::scoped_lock lock(mutex_);
  return backlog_.versions().newest();
}

std::uint64_t Scheduler::swap_model(Model model) {
  return locked([&](Finished&) { return backlog_.swap_model(model); });  // the old one ends here
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
  if (ready.empty()) {
    return kNever;
  }
  if (ready.rows() >= options_.max_rows || ready.tokens() >= options_.max_tokens ||
      backlog_.clients().all_wait()) {
    return Clock::time_point::min();
  }
  return ready.oldest().ready_since + options_.max_delay;
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
      make_run(lock);
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

void Scheduler::make_run(std::unique_lock<std::mutex>& lock) noexcept {
  Finished finished;
  std::vector<Task*> tasks;
  std::optional<Execution> execution;
  try {
    tasks = backlog_.take_run();
    execution.emplace(tasks);
  } catch (...) {  // no memory for their lists: back with them, and one less
    backlog_.settle(tasks, Clock::now(), finished);
    backlog_.fail_oldest(finished);
  }
  if (execution) {
    lock.unlock();
    execution->run();
    lock.lock();
    const Clock::time_point now = Clock::now();
    for (const RunRecord& record : execution->records()) {
      backlog_.recorder().count_run(record, now);
    }
    backlog_.settle(tasks, now, finished);
    if (stopping_) {
      backlog_.cancel_all(kEvaluatorGone, finished);
    }
  }
  lock.unlock();
  publish(std::move(finished));
  lock.lock();
}

}  // namespace kvcache::evaluator
