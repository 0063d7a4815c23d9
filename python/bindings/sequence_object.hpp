// What Python's Sequence holds.
#pragma once

#include <memory>
#include <utility>

#include "bindings/errors.hpp"
#include "bindings/use.hpp"
#include "kvcache/sequence.hpp"

namespace kvcache::python {

/// A sequence and who uses it, both shared with requests that are not answered yet. close() lets go
/// of the sequence.
class SequenceObject {
 public:
  explicit SequenceObject(Sequence sequence)
      : sequence_(std::make_shared<Sequence>(std::move(sequence))), use_(std::make_shared<Use>()) {}

  /// @throws Error invalid_argument when it is closed
  [[nodiscard]] const std::shared_ptr<Sequence>& get() const {
    if (sequence_ == nullptr) {
      throw_error(ErrorCode::invalid_argument,
                  "the sequence is closed; make another with Model.new_sequence()");
    }
    return sequence_;
  }
  [[nodiscard]] bool closed() const noexcept { return sequence_ == nullptr; }

  /// @throws Error invalid_argument when it is in use
  void close() {
    const Changing changing(*use_, "sequence");
    sequence_.reset();
  }

  [[nodiscard]] const std::shared_ptr<Use>& use() const noexcept { return use_; }

  /// Calls with the sequence, for a call that leaves it as it is, or that changes it.
  template <typename Function>
  auto read(Function&& function) const {
    const Reading reading(*use_, "sequence");
    return std::forward<Function>(function)(std::as_const(*get()));
  }
  template <typename Function>
  auto change(Function&& function) {
    const Changing changing(*use_, "sequence");
    return std::forward<Function>(function)(*get());
  }

 private:
  std::shared_ptr<Sequence> sequence_;
  std::shared_ptr<Use> use_;
};

}  // namespace kvcache::python
