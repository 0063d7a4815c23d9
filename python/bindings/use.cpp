#include "bindings/use.hpp"

#include "bindings/errors.hpp"
#include "bindings/lease.hpp"

namespace kvcache::python {

bool Use::try_begin(std::uint64_t kind, std::uint64_t refused_by) noexcept {
  std::uint64_t uses = uses_.load(std::memory_order_relaxed);
  do {
    if ((uses & refused_by) != 0) {
      return false;
    }
  } while (!uses_.compare_exchange_weak(uses, uses + kind, std::memory_order_acq_rel));
  return true;
}

void Use::begin(std::uint64_t kind, std::uint64_t refused_by, std::string_view what) {
  if (try_begin(kind, refused_by)) {
    return;
  }
  end_answered();
  if (try_begin(kind, refused_by)) {
    return;
  }
  const bool requested = (uses_.load() & kRequested) != 0;
  throw_error(ErrorCode::invalid_argument,
              "the {} is in use by {}, and one thing at a time changes it; wait for that, or use a "
              "fork() made before",
              what,
              requested ? "a request of an Evaluator that is not answered"
                        : "a generation, or another thread's call");
}

void Use::add(const std::shared_ptr<Lease>& lease) {
  const std::lock_guard lock(mutex_);
  if (leases_.size() == leases_.capacity()) {
    std::erase_if(leases_, [](const std::weak_ptr<Lease>& other) { return other.expired(); });
  }
  leases_.push_back(lease);
}

void Use::end_answered() {
  std::vector<std::weak_ptr<Lease>> leases;
  {
    const std::lock_guard lock(mutex_);
    leases = leases_;
  }
  for (const std::weak_ptr<Lease>& weak : leases) {
    if (const std::shared_ptr<Lease> lease = weak.lock()) {
      lease->end_if_answered();
    }
  }
}

void Use::begin_change(std::string_view what) { begin(kChange, ~std::uint64_t{0}, what); }

void Use::begin_read(std::string_view what) { begin(kRead, kChange | kRequestedChanges, what); }

void Use::begin_requested_change(std::string_view what) {
  begin(kRequestedChange, kChange | kReads, what);
}

void Use::begin_requested_read(std::string_view what) { begin(kRequestedRead, kChange, what); }

}  // namespace kvcache::python
