#include "bindings/evaluator_object.hpp"

#include <nanobind/nanobind.h>

#include <thread>
#include <vector>

#include "bindings/pending.hpp"

namespace kvcache::python {
namespace {

std::mutex objects_mutex;
std::set<EvaluatorObject*> objects;  // that are open

}  // namespace

EvaluatorObject::EvaluatorObject(const Model& model, const EvaluatorOptions& options)
    : evaluator_(std::make_shared<Evaluator>(model, options)) {
  const std::lock_guard lock(objects_mutex);
  objects.insert(this);
}

std::shared_ptr<Evaluator> EvaluatorObject::get() const {
  if (evaluator_ == nullptr) {
    throw_error(ErrorCode::invalid_argument, "the evaluator is closed; make another");
  }
  return evaluator_;
}

void EvaluatorObject::close() noexcept {
  {
    const std::lock_guard lock(objects_mutex);
    objects.erase(this);
  }
  std::shared_ptr<Evaluator> evaluator = std::exchange(evaluator_, nullptr);
  if (evaluator == nullptr) {
    return;
  }
  if (in_callback()) {  // the thread that its end would wait for
    std::thread([last = std::move(evaluator)] {}).detach();
    return;
  }
  const nb::gil_scoped_release released;
  evaluator.reset();
}

void EvaluatorObject::close_all() {
  std::vector<EvaluatorObject*> open;
  {
    const std::lock_guard lock(objects_mutex);
    open.assign(objects.begin(), objects.end());
  }
  for (EvaluatorObject* const object : open) {
    object->close();
  }
}

}  // namespace kvcache::python
