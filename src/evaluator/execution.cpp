#include "evaluator/execution.hpp"

#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

#include "base/throw_error.hpp"
#include "evaluator/result_cache.hpp"
#include "inference/mixed_run.hpp"

namespace kvcache::evaluator {
namespace {

using inference::MixedRun;
using inference::StateOf;

void fail_with_current_error(Task& task) noexcept {
  task.fresh.reset();
  describe_current_error(*task.own_outcome);
  task.outcome = task.own_outcome;
}

/// A task that others' blocks or memory may have left without its own.
bool may_be_for_want_of_room(const Outcome& outcome) noexcept {
  return outcome.code == ErrorCode::cache_full || outcome.code == ErrorCode::out_of_memory;
}

void add_extension(MixedRun& run, Task& task) {
  const auto& request = as_extend(task);
  inference::SequenceState* state = StateOf::of(*request.sequence);
  std::span<const TokenId> tokens = request.tokens;
  if (request.renew && (tokens.empty() || state->engine != task.engine)) {
    const std::span<const TokenId> before = state->tokens.tokens();
    task.text.assign(before.begin(), before.end());
    task.text.insert(task.text.end(), tokens.begin(), tokens.end());
    tokens = task.text;
    state = StateOf::of(task.fresh.emplace(task.engine));
  }
  run.add(inference::Addition{state, tokens, request.logits_for});
}

void add_evaluation(MixedRun& run, const Task& task) {
  const EvaluateRequest& request = as_evaluate(task);
  run.add(inference::TreeRow{
      .prefix = StateOf::of(*request.prefix), .tree = &request.tree, .nodes = request.nodes});
}

void add_score(MixedRun& run, const Task& task) {
  const auto& [request, plan] = as_score(task);
  const inference::SequenceState* prefix = StateOf::of(*request.prefix);
  if (prefix->tokens.empty()) {
    throw_error(ErrorCode::empty_input,
                "scores were asked for after an empty sequence; extend it by at least one token, "
                "which says what follows");
  }
  check_scored_tokens(plan, task.engine->info().vocab_size);
  run.add(
      inference::TreeRow{.prefix = prefix, .tree = &plan.tree, .nodes = plan.nodes, .keep = false});
}

void add_to(MixedRun& run, Task& task) {
  switch (task.kind()) {
    case Kind::extend:
      return add_extension(run, task);
    case Kind::evaluate:
      return add_evaluation(run, task);
    case Kind::score:
      return add_score(run, task);
  }
}

/// The log-probabilities that the scores of a run are made of: one question for all of them, since
/// each has its way to the GPU and back.
class ScoredTokens {
 public:
  /// `rows`: the tasks of the run's rows. What fails here fails those that ask for it.
  ScoredTokens(std::span<Task* const> rows, const MixedRun& run) noexcept {
    try {
      ask(rows, run);
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  /// Of the task of a row, in its plan's order.
  /// @throws what asking for them threw
  [[nodiscard]] std::span<const float> of(std::size_t row) const {
    if (failure_) {
      std::rethrow_exception(failure_);
    }
    return std::span(found_).subspan(begins_[row], begins_[row + 1] - begins_[row]);
  }

 private:
  static bool is_score(const Task* task) noexcept { return task->kind() == Kind::score; }

  void ask(std::span<Task* const> rows, const MixedRun& run) {
    if (std::ranges::none_of(rows, is_score)) {
      return;  // of most runs of a search
    }
    std::vector<RowToken> tokens;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      begins_.push_back(tokens.size());
      if (is_score(rows[row])) {
        for (const auto& [node, token] : as_score(*rows[row]).plan.scored) {
          tokens.push_back({run.first_logits(row) + node, token});
        }
      }
    }
    begins_.push_back(tokens.size());
    found_ = run.all_logits().log_probabilities(tokens);
  }

  std::vector<std::size_t> begins_;
  std::vector<float> found_;
  std::exception_ptr failure_;
};

void answer(Task& task, MixedRun& run, std::size_t row, const ScoredTokens& scored) noexcept try {
  Outcome& outcome = *task.own_outcome;
  switch (task.kind()) {
    case Kind::extend:  // nothing may fail: the sequence has changed
      if (task.fresh) {
        *as_extend(task).sequence = std::move(*task.fresh);
        task.fresh.reset();
      }
      outcome.result = run.logits(row);
      break;
    case Kind::evaluate:
      outcome.result = EvaluatedNodes(
          std::make_shared<const TreeEvaluation>(run.logits(row), run.take_tree(row)));
      break;
    case Kind::score:
      outcome.result = scores_of(as_score(task).plan, scored.of(row), run.logits(row),
                                 as_score(task).request.outputs);
      break;
  }
  outcome.version = task.version;
  task.outcome = task.own_outcome;
  if (task.uses_cache()) {
    task.kept = to_keep(task.own_outcome, task.engine->info());
  }
} catch (...) {
  fail_with_current_error(task);
}

}  // namespace

Execution::Execution(std::span<Task* const> tasks, bool beside_others)
    : tasks_(tasks), beside_others_(beside_others) {
  records_.reserve(2 * tasks.size());  // halves of halves: nothing may fail after the first run
}

void Execution::run() noexcept {
  try {
    run_part(tasks_);
  } catch (...) {  // no memory for its lists
    if (!tasks_.front()->outcome) {
      fail_with_current_error(*tasks_.front());
    }
  }
}

/// With the error that is being handled. `first`: it has no other row of its run beside it.
void Execution::fail_or_put_off(Task& task, bool first) const noexcept {
  fail_with_current_error(task);
  if ((!first || beside_others_) && may_be_for_want_of_room(*task.outcome)) {
    task.outcome = nullptr;
  }
}

void Execution::run_part(std::span<Task* const> tasks) {
  const Clock::time_point began = Clock::now();
  std::optional<MixedRun> run(std::in_place, tasks.front()->engine, tasks.size());
  std::vector<Task*> rows;
  rows.reserve(tasks.size());
  for (Task* task : tasks) {
    task->run_began = began;
    try {
      add_to(*run, *task);
      rows.push_back(task);
    } catch (...) {
      fail_or_put_off(*task, rows.empty());
    }
  }
  if (rows.empty()) {
    return;
  }
  RunRecord record{.rows = rows.size(), .tokens = run->tokens()};
  try {
    run->run();
  } catch (...) {
    record.failed = true;
    if (rows.size() == 1) {
      fail_or_put_off(*rows.front(), true);
    }
  }
  record.took = Clock::now() - began;
  records_.push_back(record);
  if (!record.failed) {
    const ScoredTokens scored(rows, *run);
    for (std::size_t row = 0; row < rows.size(); ++row) {
      answer(*rows[row], *run, row, scored);
    }
  } else if (rows.size() > 1) {
    run.reset();  // its blocks are needed again
    const std::span<Task* const> all(rows);
    run_part(all.first(rows.size() / 2));
    run_part(all.subspan(rows.size() / 2));
  }
}

}  // namespace kvcache::evaluator
