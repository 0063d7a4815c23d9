// Messages of the library for a callable of Python.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <string_view>

#include "bindings/interpreter_lock.hpp"
#include "bindings/python_call.hpp"
#include "kvcache/options.hpp"

namespace kvcache::python {

namespace nb = nanobind;

/// Called in any thread; exceptions go to sys.unraisablehook. Nothing for None.
inline LogCallback to_log_callback(const nb::object& callable) {
  if (callable.is_none()) {
    return {};
  }
  if (PyCallable_Check(callable.ptr()) == 0) {
    throw nb::type_error("log must be a callable that takes one str, or None");
  }
  const std::shared_ptr<nb::object> held = hold(callable);
  return [held](std::string_view message) {
    if (!nb::is_alive()) {
      return;
    }
    const Locked acquired;
    try {
      (*held)(nb::str(message.data(), message.size()));
    } catch (nb::python_error& error) {
      error.discard_as_unraisable(*held);
    }
  };
}

}  // namespace kvcache::python
