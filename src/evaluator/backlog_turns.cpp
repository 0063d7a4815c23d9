// The beginning and the end of a task's turn.
#include <algorithm>
#include <utility>

#include "base/throw_error.hpp"
#include "evaluator/backlog.hpp"
#include "inference/sequence_state.hpp"
#include "inference/tree_checks.hpp"

namespace kvcache::evaluator {

using inference::SequenceState;
using inference::StateOf;

void Backlog::prepare_woken(Clock::time_point now, Finished& finished) noexcept {
  while (!woken_.empty()) {
    Task& task = *woken_.front();
    task.by_age.leave();
    try {
      prepare(task, now);
    } catch (...) {
      describe_current_error(*task.own_outcome);
      end(task, task.own_outcome, finished);
      continue;
    }
    if (!answer_from_cache(task, now, finished) && !join(task)) {
      ready_.insert(task);
    }
  }
}

/// What only its turn decides: all that is before it in its sequence is done.
void Backlog::prepare(Task& task, Clock::time_point now) {
  const SequenceState* state = StateOf::of(*task.sequence());
  if (state == nullptr) {
    throw_error(ErrorCode::invalid_argument,
                "the request's sequence was moved away; move it when its requests are answered");
  }
  const std::size_t length = state->tokens.size();
  if (task.options.at_length && *task.options.at_length != length) {
    throw_error(ErrorCode::invalid_argument,
                "the request was to be run when its sequence has {} tokens, but it has {}: a "
                "request before it failed, or was cancelled",
                *task.options.at_length, length);
  }
  const auto version = versions_.find(state->engine);
  if (!version) {
    throw_error(ErrorCode::invalid_argument,
                "the request's sequence is of a model that the evaluator was never given; make it "
                "with the evaluator's new_sequence()");
  }
  task.engine = state->engine;
  task.version = *version;
  task.ready_since = now;
  if (task.kind() == Kind::extend) {
    const auto& request = as_extend(task);
    task.tokens = request.tokens.size();
    const auto newest = versions_.newest_engine();
    if (request.renew && (request.tokens.empty() || newest != task.engine)) {
      task.engine = newest;
      task.version = versions_.newest_number();
      task.tokens += length;
    }
  } else if (task.kind() == Kind::evaluate) {
    const EvaluateRequest& request = as_evaluate(task);
    task.tokens = request.tree.tokens.size() + (inference::asks_for_prefix(request.nodes) ? 1 : 0);
  } else {
    task.tokens = as_score(task).plan.nodes.size();
  }
}

bool Backlog::answer_from_cache(Task& task, Clock::time_point now, Finished& finished) noexcept {
  if (task.options.cache_key && task.options.skip_cache && !task.writes()) {
    result_cache_.count_skipped();
  }
  if (!task.uses_cache() || task.version != versions_.newest_number()) {
    return false;
  }
  auto kept = result_cache_.find(task);
  if (!kept) {
    return false;
  }
  task.by = AnsweredBy::result_cache;
  task.waited = now - task.submitted;
  end(task, std::move(kept), finished);
  return true;
}

/// Whether the task follows another one. Otherwise others may follow it.
bool Backlog::join(Task& task) noexcept {
  if (task.writes() || !task.options.join) {
    return false;
  }
  Task* leader = in_flight_.find_or_insert(task);
  if (leader == nullptr) {
    return false;
  }
  follow(task, *leader);
  if (leader->stage == Stage::ready && leader->priority < task.priority) {
    ready_.raise(*leader, task.priority);
  }
  return true;
}

void Backlog::fail(Task& task, ErrorCode code, std::string_view message,
                   Finished& finished) noexcept {
  task.own_outcome->code = code;
  try {
    task.own_outcome->message = message;
  } catch (...) {
    task.own_outcome->message.clear();  // no memory for it: the code must do
  }
  end(task, task.own_outcome, finished);
}

void Backlog::end(Task& task, std::shared_ptr<const Outcome> outcome, Finished& finished) noexcept {
  task.outcome = std::move(outcome);
  if (task.stage == Stage::running) {
    end_followers(task, finished);
  } else if (!task.followers.empty()) {
    hand_on_to_follower(task);
  }
  leave_queues(task);
  task.stage = Stage::done;
  clients_.release(task);
  recorder_.count_finished(task);
  finished.splice(finished.end(), tasks_, task.alive);
}

void Backlog::leave_queues(Task& task) noexcept {
  if (task.expiry) {
    expiries_.erase(*task.expiry);
    task.expiry.reset();
  }
  if (task.stage == Stage::ready) {
    ready_.erase(task);
  } else if (task.stage == Stage::following) {
    unfollow(task);
  }
  task.by_age.leave();  // it may have been woken just now
  in_flight_.erase(task);
  if (task.in_lane.in_any()) {
    lanes_.remove(task, woken_);
  }
}

void Backlog::end_followers(Task& leader, Finished& finished) noexcept {
  while (!leader.followers.empty()) {
    Task& task = *leader.followers.front();
    task.by = AnsweredBy::joined;
    task.waited = std::max(Clock::duration::zero(), leader.run_began - task.submitted);
    end(task, leader.outcome, finished);
  }
}

/// A task that others follow ends without having run: the first of them takes its place.
void Backlog::hand_on_to_follower(Task& leader) noexcept {
  Task& next = promote_first_follower(leader);
  in_flight_.replace(leader, next);
  for (const Task* follower : next.followers) {
    next.priority = std::max(next.priority, follower->options.priority);
  }
  ready_.replace(leader, next);
  leader.stage = Stage::queued;  // in no queue any more
}

}  // namespace kvcache::evaluator
