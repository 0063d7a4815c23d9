#include "kvcache/evaluator.hpp"

#include <type_traits>
#include <utility>

#include "evaluator/scheduler.hpp"
#include "evaluator/score.hpp"
#include "evaluator/task.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {

using evaluator::ClientState;
using evaluator::Scheduler;
using evaluator::Task;

namespace {

constexpr Meaning kSubmit{"the request was not submitted", ErrorCode::run_failed,
                          ErrorCode::run_failed};
constexpr Meaning kStart{"the evaluator was not started", ErrorCode::system_refused,
                         ErrorCode::run_failed};

/// What can be said of a request without its sequence.
void plan(Task& task) {
  if (auto* work = std::get_if<evaluator::ScoreWork>(&task.work)) {
    try {
      work->plan = evaluator::plan_scores(work->request);
    } catch (const Error&) {
      evaluator::describe_current_error(*task.own_outcome);
      task.refused = true;
    }
  }
}

std::shared_ptr<Task> make_task(const std::shared_ptr<ClientState>& client, auto request) {
  const RequestOptions options = request.options;
  std::shared_ptr<Task> task;
  if constexpr (std::is_same_v<decltype(request), ScoreRequest>) {
    task = std::make_shared<Task>(evaluator::ScoreWork{std::move(request), {}}, options, client);
  } else {
    task = std::make_shared<Task>(std::move(request), options, client);
  }
  plan(*task);
  return task;
}

template <typename Result>
Request<Result> submit_task(const std::shared_ptr<Scheduler>& scheduler, std::shared_ptr<Task> task,
                            Callback<Result> callback) {
  if (callback) {
    task->callback = [scheduler, callback = std::move(callback)](const auto& done) {
      callback(Request<Result>(scheduler, done));
    };
  }
  scheduler->submit(task);
  return {scheduler, std::move(task)};
}

template <typename Result>
Answer<Result> answer_task(const std::shared_ptr<Scheduler>& scheduler,
                           const std::shared_ptr<Task>& task) {
  scheduler->submit_and_wait(task);
  return Request<Result>(scheduler, task).get();
}

}  // namespace

Submitter::Submitter(std::shared_ptr<Scheduler> scheduler,
                     std::shared_ptr<ClientState> client) noexcept
    : scheduler_(std::move(scheduler)), client_(std::move(client)) {}
Submitter::Submitter(Submitter&&) noexcept = default;
Submitter& Submitter::operator=(Submitter&&) noexcept = default;
Submitter::~Submitter() = default;

Request<Logits> Submitter::submit(ExtendRequest request, Callback<Logits> callback) try {
  return submit_task(scheduler_, make_task(client_, std::move(request)), std::move(callback));
} catch (...) {
  rethrow_as_error(kSubmit);
}

Request<EvaluatedNodes> Submitter::submit(EvaluateRequest request,
                                          Callback<EvaluatedNodes> callback) try {
  return submit_task(scheduler_, make_task(client_, std::move(request)), std::move(callback));
} catch (...) {
  rethrow_as_error(kSubmit);
}

Request<Scores> Submitter::submit(ScoreRequest request, Callback<Scores> callback) try {
  return submit_task(scheduler_, make_task(client_, std::move(request)), std::move(callback));
} catch (...) {
  rethrow_as_error(kSubmit);
}

Answer<Logits> Submitter::answer(ExtendRequest request) try {
  return answer_task<Logits>(scheduler_, make_task(client_, std::move(request)));
} catch (...) {
  rethrow_as_error(kSubmit);
}

Answer<EvaluatedNodes> Submitter::answer(EvaluateRequest request) try {
  return answer_task<EvaluatedNodes>(scheduler_, make_task(client_, std::move(request)));
} catch (...) {
  rethrow_as_error(kSubmit);
}

Answer<Scores> Submitter::answer(ScoreRequest request) try {
  return answer_task<Scores>(scheduler_, make_task(client_, std::move(request)));
} catch (...) {
  rethrow_as_error(kSubmit);
}

EvaluatorClient::EvaluatorClient(std::shared_ptr<Scheduler> scheduler,
                                 std::shared_ptr<ClientState> client) noexcept
    : Submitter(std::move(scheduler), std::move(client)) {}
EvaluatorClient::EvaluatorClient(EvaluatorClient&&) noexcept = default;

EvaluatorClient& EvaluatorClient::operator=(EvaluatorClient&& other) noexcept {
  if (this != &other) {
    leave();
    Submitter::operator=(std::move(other));
  }
  return *this;
}

EvaluatorClient::~EvaluatorClient() { leave(); }

void EvaluatorClient::leave() noexcept {
  if (client_) {
    scheduler_->remove_client(*client_);
    client_.reset();
  }
}

void EvaluatorClient::idle() noexcept { scheduler_->set_idle(*client_); }

Evaluator::Evaluator(const Model& model, const EvaluatorOptions& options) try
    : Submitter(nullptr, nullptr) {
  scheduler_ = std::make_shared<Scheduler>(model, options);
  client_ = scheduler_->others();
} catch (...) {
  rethrow_as_error(kStart);
}

Evaluator::~Evaluator() { scheduler_->stop(); }

EvaluatorClient Evaluator::register_client() try {
  return {scheduler_, scheduler_->add_client()};
} catch (...) {
  rethrow_as_error(kStart);
}

Sequence Evaluator::new_sequence() const { return model().new_sequence(); }

Model Evaluator::model() const { return scheduler_->model(); }

std::uint64_t Evaluator::swap_model(const Model& model) try {
  return scheduler_->swap_model(model);
} catch (...) {
  rethrow_as_error(kStart);
}

std::optional<std::uint64_t> Evaluator::hits_of(std::uint64_t cache_key) const {
  return scheduler_->hits_of(cache_key);
}

EvaluatorMetrics Evaluator::metrics() const try { return scheduler_->metrics(); } catch (...) {
  rethrow_as_error(kStart);
}

}  // namespace kvcache
