// The caller's side of a request.
#include <algorithm>
#include <utility>

#include "evaluator/scheduler.hpp"
#include "evaluator/task.hpp"
#include "kvcache/evaluator_request.hpp"

namespace kvcache {

using evaluator::Clock;

template <typename Result>
Request<Result>::Request(std::shared_ptr<evaluator::Scheduler> scheduler,
                         std::shared_ptr<evaluator::Task> task)
    : scheduler_(std::move(scheduler)), task_(std::move(task)) {}

template <typename Result>
Request<Result>::Request(const Request&) = default;
template <typename Result>
Request<Result>::Request(Request&&) noexcept = default;
template <typename Result>
Request<Result>& Request<Result>::operator=(const Request&) = default;
template <typename Result>
Request<Result>& Request<Result>::operator=(Request&&) noexcept = default;
template <typename Result>
Request<Result>::~Request() = default;

template <typename Result>
Answer<Result> Request<Result>::get() const {
  wait();
  const evaluator::Outcome& outcome = *task_->outcome;
  if (outcome.failed()) {
    throw Error(outcome.code, outcome.message);
  }
  return {.result = std::get<Result>(outcome.result),
          .version = outcome.version,
          .by = task_->by,
          .waited = task_->waited};
}

template <typename Result>
void Request<Result>::wait() const {
  scheduler_->wait(*task_);
}

template <typename Result>
bool Request<Result>::wait_for(std::chrono::nanoseconds timeout) const {
  const Clock::time_point now = Clock::now();
  return scheduler_->wait_until(*task_, now + std::min(timeout, Clock::time_point::max() - now));
}

template <typename Result>
bool Request<Result>::ready() const noexcept {
  return task_->completion.done();
}

template <typename Result>
bool Request<Result>::cancel() const noexcept {
  return scheduler_->cancel(*task_);
}

template class Request<Logits>;
template class Request<EvaluatedNodes>;
template class Request<Scores>;

}  // namespace kvcache
