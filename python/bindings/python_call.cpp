#include "bindings/python_call.hpp"

#include "bindings/interpreter_lock.hpp"

namespace kvcache::python {

std::shared_ptr<nb::object> hold(nb::object object) {
  return {new nb::object(std::move(object)), [](nb::object* held) {
            if (nb::is_alive()) {
              const Locked acquired;
              delete held;
            }
          }};
}

void check_signals() {
  in_python([] {
    if (PyErr_CheckSignals() != 0) {
      throw nb::python_error();
    }
  });
}

}  // namespace kvcache::python
