// Calls of the library into Python, in any thread.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>

#include "bindings/interpreter_lock.hpp"

namespace kvcache::python {

namespace nb = nanobind;

/// What Python raised while the library called it. It is no std::exception, so that the library
/// lets it pass as it is; whoever called the library raises it again.
struct Raised {
  std::shared_ptr<nb::python_error> error;
};

/// Calls with the interpreter's lock.
/// @throws Raised what Python raises; Error of the library as it is
template <typename Function>
auto in_python(Function&& function) {
  const Locked acquired;
  try {
    return std::forward<Function>(function)();
  } catch (nb::python_error& error) {
    throw Raised{std::make_shared<nb::python_error>(std::move(error))};
  } catch (const nb::builtin_exception& error) {  // the bindings' own are of this type alone
    PyErr_SetString(PyExc_TypeError, error.what());
    throw Raised{std::make_shared<nb::python_error>()};
  }
}

/// An object of Python's for who may let go of it without the interpreter's lock.
std::shared_ptr<nb::object> hold(nb::object object);

/// @throws Raised what a signal's handler raises, such as KeyboardInterrupt. In the main thread;
///         nothing in others.
void check_signals();

}  // namespace kvcache::python
