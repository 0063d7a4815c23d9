#include "evaluator/task.hpp"

#include "ort/error_boundary.hpp"

namespace kvcache::evaluator {

const Sequence* Task::sequence() const noexcept {
  switch (kind()) {
    case Kind::extend:
      return std::get<ExtendRequest>(work).sequence.get();
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
  std::visit(
      [](auto& asked) {
        if constexpr (requires { asked.sequence; }) {
          asked.sequence.reset();
        } else if constexpr (requires { asked.prefix; }) {
          asked.prefix.reset();
        } else {
          asked.request.prefix.reset();
        }
      },
      work);
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
