#include "bindings/evaluator_object.hpp"

#include <nanobind/nanobind.h>

#include <thread>

#include "bindings/interpreter_lock.hpp"
#include "bindings/open_objects.hpp"
#include "bindings/pending.hpp"

namespace kvcache::python {
namespace {

OpenObjects<EvaluatorObject> open_evaluators;

}  // namespace

EvaluatorObject::EvaluatorObject(const Model& model, const EvaluatorOptions& options)
    : slot_(std::make_shared<Evaluator>(model, options)) {
  open_evaluators.add(this);
}

std::shared_ptr<Evaluator> EvaluatorObject::get() const {
  if (std::shared_ptr<Evaluator> evaluator = slot_.share()) {
    return evaluator;
  }
  throw_error(ErrorCode::invalid_argument, "the evaluator is closed; make another");
}

void EvaluatorObject::close() noexcept {
  open_evaluators.remove(this);
  std::shared_ptr<Evaluator> evaluator = slot_.take();
  if (evaluator == nullptr) {
    return;
  }
  if (in_callback()) {  // the thread that its end would wait for
    std::thread([last = std::move(evaluator)] {}).detach();
    return;
  }
  const Unlocked released;
  evaluator.reset();
}

void EvaluatorObject::close_all() {
  open_evaluators.end_each([](EvaluatorObject& object) { object.close(); });
}

}  // namespace kvcache::python
