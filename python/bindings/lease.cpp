#include "bindings/lease.hpp"

#include <utility>

namespace kvcache::python {

std::shared_ptr<Lease> Lease::begin(const std::shared_ptr<Use>& use, bool changes) {
  changes ? use->begin_requested_change("sequence") : use->begin_requested_read("sequence");
  std::shared_ptr<Lease> lease(new Lease(use, changes));
  use->add(lease);
  return lease;
}

void Lease::end() noexcept {
  std::function<bool()> answered;  // whatever it holds goes when the lock is not held
  const std::lock_guard lock(mutex_);
  if (std::exchange(ended_, true)) {
    return;
  }
  answered.swap(answered_);
  changes_ ? use_->end_requested_change() : use_->end_requested_read();
}

void Lease::watch(std::function<bool()> answered) {
  const std::lock_guard lock(mutex_);
  if (!ended_) {
    answered_ = std::move(answered);
  }
}

void Lease::end_if_answered() {
  std::function<bool()> answered;
  {
    const std::lock_guard lock(mutex_);
    answered = answered_;
  }
  if (answered && answered()) {
    end();
  }
}

}  // namespace kvcache::python
