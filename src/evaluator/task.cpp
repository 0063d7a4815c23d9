#include "evaluator/task.hpp"

#include "ort/error_boundary.hpp"

namespace kvcache::evaluator {

const Sequence* Task::sequence() const noexcept {
  switch (kind()) {
    case Kind::extend:
      return as_extend(*this).sequence.get();
    case Kind::evaluate:
      return as_evaluate(*this).prefix.get();
    case Kind::score:
      return as_score(*this).request.prefix.get();
  }
  return nullptr;
}

void Task::publish() noexcept {
  engine.reset();
  kept.reset();
  if (auto* extension = std::get_if<ExtendRequest>(&work)) {
    extension->sequence.reset();
  } else if (auto* evaluation = std::get_if<EvaluateRequest>(&work)) {
    evaluation->prefix.reset();
  } else {
    std::get_if<ScoreWork>(&work)->request.prefix.reset();
  }
  completion.publish();
}

void describe_current_error(Outcome& outcome) noexcept {
  try {
    rethrow_as_error(kRun);
  } catch (const Error& error) {
    outcome.code = error.code();
    try {
      outcome.message = error.what();
    } catch (...) {
      outcome.message.clear();  // no memory for it: the code must do
    }
  } catch (...) {
    outcome.code = ErrorCode::out_of_memory;  // not even for the error
  }
}

}  // namespace kvcache::evaluator
