#include "bindings/use.hpp"

#include "bindings/errors.hpp"

namespace kvcache::python {

void Use::begin(std::uint64_t kind, std::uint64_t refused_by, std::string_view what) {
  std::uint64_t uses = uses_.load(std::memory_order_relaxed);
  do {
    if ((uses & refused_by) != 0) {
      throw_error(ErrorCode::invalid_argument,
                  "the {} is in use by {}, and one thing at a time changes it; wait for that, or "
                  "use a fork() made before",
                  what,
                  (uses & kRequestedChanges) != 0 ? "a request of an Evaluator that is not answered"
                                                  : "a generation, or another thread's call");
    }
  } while (!uses_.compare_exchange_weak(uses, uses + kind, std::memory_order_acq_rel));
}

void Use::begin_change(std::string_view what) { begin(kChange, ~std::uint64_t{0}, what); }

void Use::begin_read(std::string_view what) { begin(kRead, kChange | kRequestedChanges, what); }

void Use::begin_requested_change(std::string_view what) {
  begin(kRequestedChange, kChange | kReads, what);
}

void Use::begin_requested_read(std::string_view what) { begin(kRequestedRead, kChange, what); }

}  // namespace kvcache::python
