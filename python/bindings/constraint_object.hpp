// Constraints of the library's in Python, and of Python's in the library.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>

#include "bindings/use.hpp"
#include "kvcache/constraint.hpp"

namespace kvcache::python {

namespace nb = nanobind;

/// One that the library made, and who uses it.
class ConstraintObject {
 public:
  explicit ConstraintObject(std::unique_ptr<Constraint> made) : made_(std::move(made)) {}

  /// Calls with the constraint, for a call that leaves it as it is, or that changes it.
  /// @throws Error invalid_argument when it is in use by another thread
  template <typename Function>
  auto read(Function&& function) {
    const Reading reading(use_, "constraint");
    return std::forward<Function>(function)(std::as_const(*made_));
  }
  template <typename Function>
  auto change(Function&& function) {
    const Changing changing(use_, "constraint");
    return std::forward<Function>(function)(*made_);
  }

 private:
  std::unique_ptr<Constraint> made_;
  Use use_;
};

/// A constraint in the state of `object`, which is one of the library's or has the methods of
/// kvcache.Constraint; null for None.
/// @throws nb::type_error where it is neither; what its fork() raises
std::unique_ptr<Constraint> to_constraint(nb::handle object);

}  // namespace kvcache::python
