// A request that may not be answered yet: who waits for it, and the use of its sequence.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bindings/lease.hpp"

namespace kvcache::python {

namespace nb = nanobind;

/// What a request and its callback share. The callback is called in the evaluator's thread.
class Pending {
 public:
  explicit Pending(std::shared_ptr<Lease> lease) : lease_(std::move(lease)) {}
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  void end_use() noexcept { lease_->end(); }
  [[nodiscard]] Lease& lease() noexcept { return *lease_; }

  /// Has `callable` called with `request`, now if it is answered. With the interpreter's lock.
  void call_when_answered(nb::object callable, nb::object request);

  /// Ends the use and calls what waits. In any thread, without the interpreter's lock.
  void answered() noexcept;

 private:
  using Call = std::pair<nb::object, nb::object>;

  static void call(const Call& call) noexcept;

  std::shared_ptr<Lease> lease_;
  std::mutex mutex_;
  bool is_answered_ = false;
  std::vector<Call> calls_;
};

/// Whether this thread is calling back: it must not wait for the evaluator's end.
bool in_callback() noexcept;

}  // namespace kvcache::python
