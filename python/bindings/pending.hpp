// A request that may not be answered yet: who waits for it, and the use of its sequence.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/use.hpp"
#include "kvcache/evaluator_request.hpp"

namespace kvcache::python {

namespace nb = nanobind;

/// Of one request: its sequence is in use until it is answered, whoever notices first.
class Lease {
 public:
  Lease(std::shared_ptr<Use> use, bool changes) : use_(std::move(use)), changes_(changes) {
    changes_ ? use_->begin_requested_change("sequence") : use_->begin_requested_read("sequence");
  }
  ~Lease() { end(); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  void end() noexcept {
    if (!ended_.exchange(true)) {
      changes_ ? use_->end_requested_change() : use_->end_requested_read();
    }
  }

 private:
  std::shared_ptr<Use> use_;
  bool changes_;
  std::atomic<bool> ended_ = false;
};

/// What a request and its callback share. The callback is called in the evaluator's thread.
class Pending {
 public:
  explicit Pending(std::shared_ptr<Lease> lease) : lease_(std::move(lease)) {}
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  void end_use() noexcept { lease_->end(); }

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
