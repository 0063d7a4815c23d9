// What Python's Sequence and WindowedSequence hold.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "bindings/errors.hpp"
#include "bindings/slot.hpp"
#include "bindings/use.hpp"

namespace kvcache::python {

/// An object and who uses it, both shared with requests and generations that have not ended yet.
/// close() lets go of the object. `Names` says what messages call it (kName), and where another one
/// comes from (kAnother).
template <typename Object, typename Names>
class Closable {
 public:
  explicit Closable(Object object)
      : slot_(std::make_shared<Object>(std::move(object))), use_(std::make_shared<Use>()) {}

  /// @throws Error invalid_argument when it is closed
  [[nodiscard]] std::shared_ptr<Object> get() const {
    if (std::shared_ptr<Object> object = slot_.share()) {
      return object;
    }
    throw_error(ErrorCode::invalid_argument, "the {} is closed; make another with {}", Names::kName,
                Names::kAnother);
  }
  [[nodiscard]] bool closed() const { return slot_.share() == nullptr; }

  /// @throws Error invalid_argument when it is in use
  void close() {
    const Changing changing(*use_, Names::kName);
    slot_.take();
  }

  [[nodiscard]] const std::shared_ptr<Use>& use() const noexcept { return use_; }

  /// Calls with the object, for a call that leaves it as it is, or that changes it.
  template <typename Function>
  auto read(Function&& function) const {
    const Reading reading(*use_, Names::kName);
    return std::forward<Function>(function)(std::as_const(*get()));
  }
  template <typename Function>
  auto change(Function&& function) {
    const Changing changing(*use_, Names::kName);
    return std::forward<Function>(function)(*get());
  }

 private:
  Slot<Object> slot_;
  std::shared_ptr<Use> use_;
};

}  // namespace kvcache::python
