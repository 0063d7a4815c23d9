#include "bindings/pending.hpp"

#include <memory>
#include <tuple>

#include "bindings/interpreter_lock.hpp"

namespace kvcache::python {
namespace {

thread_local bool calling_back = false;

}  // namespace

bool in_callback() noexcept { return calling_back; }

void Pending::call_when_answered(nb::object callable, nb::object request) {
  Call made{std::move(callable), std::move(request)};
  {
    // Never waits for a thread that waits for the interpreter's lock: answered() holds one of them.
    const std::lock_guard lock(mutex_);
    if (!is_answered_) {
      calls_.push_back(std::move(made));
      return;
    }
  }
  call(made);
}

void Pending::answered() noexcept {
  end_use();
  std::vector<Call> calls;
  {
    const std::lock_guard lock(mutex_);
    is_answered_ = true;
    calls.swap(calls_);
  }
  if (calls.empty()) {
    return;
  }
  if (!nb::is_alive()) {
    // Nobody may let go of Python's objects any more.
    std::ignore = std::make_unique<std::vector<Call>>(std::move(calls)).release();
    return;
  }
  const Locked acquired;
  calling_back = true;
  for (const Call& made : calls) {
    call(made);
  }
  calls.clear();
  calling_back = false;
}

void Pending::call(const Call& made) noexcept {
  const auto& [callable, request] = made;
  try {
    callable(request);
  } catch (nb::python_error& error) {
    error.discard_as_unraisable(callable);
  }
}

}  // namespace kvcache::python
