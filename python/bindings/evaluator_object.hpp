// What Python's Evaluator and EvaluatorClient hold.
#pragma once

#include <memory>
#include <utility>

#include "bindings/errors.hpp"
#include "bindings/slot.hpp"
#include "kvcache/evaluator.hpp"

namespace kvcache::python {

/// An evaluator, shared with the calls that are under way. Whoever lets go of it last waits for its
/// callbacks, and must not hold the interpreter's lock.
class EvaluatorObject {
 public:
  EvaluatorObject(const Model& model, const EvaluatorOptions& options);
  ~EvaluatorObject() { close(); }
  EvaluatorObject(const EvaluatorObject&) = delete;
  EvaluatorObject& operator=(const EvaluatorObject&) = delete;

  /// @throws Error invalid_argument when it is closed
  [[nodiscard]] std::shared_ptr<Evaluator> get() const;

  /// With the interpreter's lock, which it lets go meanwhile.
  void close() noexcept;

  /// Closes all, before the interpreter ends: their threads call back into it.
  static void close_all();

 private:
  Slot<Evaluator> slot_;
};

}  // namespace kvcache::python
