#include "evaluator/backlog.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/throw_error.hpp"

namespace kvcache::evaluator {

Backlog::Backlog(const Model& model, const EvaluatorOptions& options, Clock::time_point now)
    : max_waiting_(options.max_waiting),
      limits_{.rows = options.max_rows,
              .tokens = options.max_tokens,
              .passed_by = options.max_passed_by},
      versions_(model),
      result_cache_(options.result_cache_bytes),
      recorder_(now) {
  if (options.max_rows == 0 || options.max_tokens == 0) {
    throw_error(ErrorCode::invalid_argument,
                "the evaluator's max_rows is {} and max_tokens {}; each must be at least 1",
                options.max_rows, options.max_tokens);
  }
}

void Backlog::add(const std::shared_ptr<Task>& added, Clock::time_point now, Finished& finished) {
  Task& task = *added;
  const auto& deadline = task.options.deadline;
  tasks_.push_back(added);
  task.alive = std::prev(tasks_.end());
  task.number = next_number_++;
  task.submitted = now;
  task.priority = task.options.priority;
  recorder_.count_submitted();
  clients_.set_idle(*task.client, false);
  if (task.refused) {
    return end(task, task.own_outcome, finished);
  }
  if (task.sequence() == nullptr) {
    return fail(task, ErrorCode::invalid_argument,
                "the request names no sequence; give one that this evaluator's new_sequence() made",
                finished);
  }
  if (max_waiting_ > 0 && tasks_.size() > max_waiting_) {
    return fail(task, ErrorCode::queue_full,
                "the evaluator has as many unanswered requests as its max_waiting; wait for some, "
                "or allow more",
                finished);
  }
  if (deadline && *deadline <= now) {
    expire(task, now, finished);
    return;
  }
  try {
    if (deadline) {
      task.expiry = expiries_.emplace(*deadline, &task);
    }
    if (lanes_.push(task)) {
      task.by_age.enter(woken_);
    }
  } catch (...) {
    describe_current_error(*task.own_outcome);
    return end(task, task.own_outcome, finished);
  }
  prepare_woken(now, finished);
}

bool Backlog::cancel(Task& task, std::string_view why, Finished& finished) noexcept {
  if (task.stage == Stage::running || task.stage == Stage::done) {
    return false;
  }
  fail(task, ErrorCode::cancelled, why, finished);
  prepare_woken(Clock::now(), finished);
  return true;
}

bool Backlog::expire(Task& task, Clock::time_point now, Finished& finished) noexcept {
  if (task.stage == Stage::running || task.stage == Stage::done) {
    return false;
  }
  const auto waited = std::chrono::duration<double, std::milli>(now - task.submitted);
  try {
    fail(task, ErrorCode::deadline_exceeded,
         fmt::format("the request's deadline passed when it had waited {:.3f} ms and {}; {} others "
                     "wait: give it more time or a higher priority, or ask less",
                     waited.count(),
                     task.leader != nullptr && task.leader->stage == Stage::running
                         ? "the run that it had joined went on"
                         : "no run had begun",
                     tasks_.size() - running_ - 1),
         finished);
  } catch (...) {
    fail(task, ErrorCode::deadline_exceeded, {}, finished);
  }
  prepare_woken(now, finished);
  return true;
}

void Backlog::expire_all(Clock::time_point now, Finished& finished) noexcept {
  while (!expiries_.empty() && expiries_.begin()->first <= now) {
    expire(*expiries_.begin()->second, now, finished);
  }
}

void Backlog::cancel_all(std::string_view why, Finished& finished) noexcept {
  auto next = tasks_.begin();
  while (next != tasks_.end()) {
    Task& task = **next;
    ++next;  // now, because one that ends leaves the list
    if (task.stage != Stage::running) {
      fail(task, ErrorCode::cancelled, why, finished);
    }
  }
}

std::vector<Task*> Backlog::take_run(std::size_t most_rows) {
  RunLimits limits = limits_;
  limits.rows = std::min(limits.rows, most_rows);
  std::vector<Task*> tasks = ready_.take(limits);
  for (Task* task : tasks) {
    if (task->expiry) {
      task->no_expiry = expiries_.extract(*task->expiry);
      task->expiry.reset();
    }
  }
  running_ += tasks.size();
  return tasks;
}

void Backlog::settle(const std::vector<Task*>& tasks, Clock::time_point now,
                     Finished& finished) noexcept {
  running_ -= tasks.size();
  for (std::size_t i = tasks.size(); i-- > 0;) {  // the oldest will be first
    if (Task& task = *tasks[i]; !task.outcome) {
      recorder_.count_put_off();
      ready_.insert_again(task);
      if (task.no_expiry) {
        task.expiry = expiries_.insert(std::move(task.no_expiry));
      }
    }
  }
  for (Task* task : tasks) {
    if (!task->outcome) {
      continue;
    }
    task->waited = task->run_began - task->submitted;
    if (task->kept && task->version == versions_.newest_number()) {
      result_cache_.insert(*task, std::move(task->kept));
    }
    end(*task, task->outcome, finished);
  }
  prepare_woken(now, finished);
}

void Backlog::fail_oldest(Finished& finished) noexcept {
  Task& task = ready_.oldest();
  describe_current_error(*task.own_outcome);
  end(task, task.own_outcome, finished);
  prepare_woken(Clock::now(), finished);
}

std::optional<Clock::time_point> Backlog::next_expiry() const noexcept {
  return expiries_.empty() ? std::nullopt : std::optional(expiries_.begin()->first);
}

std::uint64_t Backlog::swap_model(Model& model) {
  const std::uint64_t number = versions_.exchange(model);
  result_cache_.clear();
  return number;
}

EvaluatorMetrics Backlog::metrics(Clock::time_point now) const {
  EvaluatorMetrics metrics = recorder_.metrics(now);
  metrics.waiting = tasks_.size() - running_;
  metrics.running = running_;
  metrics.clients = clients_.registered();
  metrics.version = versions_.newest_number();
  metrics.result_cache = result_cache_.stats();
  return metrics;
}

}  // namespace kvcache::evaluator
