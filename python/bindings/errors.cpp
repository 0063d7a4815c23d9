#include "bindings/errors.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <string_view>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/python_call.hpp"

namespace kvcache::python {
namespace {

/// Raises kvcache.Error, which is a class of Python's so that it has the methods of one.
void raise(const Error& error) {
  try {
    const nb::object raised = to_python_error(error);
    PyErr_SetObject(raised.type().ptr(), raised.ptr());
  } catch (nb::python_error& failed) {
    failed.restore();
  }
}

}  // namespace

nb::object to_python_error(const Error& error) {
  const std::string_view code = error_code_name(error.code());
  const nb::object type = nb::module_::import_("kvcache._error").attr("Error");
  return type(nb::str(code.data(), code.size()), nb::str(error.what()));
}

void bind_errors(nb::module_& module) {
  module.def(
      "error_codes",
      [] {
        std::vector<std::string> names;
        for (int code = 0; code <= static_cast<int>(ErrorCode::grammar_unavailable); ++code) {
          names.emplace_back(error_code_name(static_cast<ErrorCode>(code)));
        }
        return names;
      },
      "What kvcache.ErrorCode names, in the order of C++.");
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& error) {
      raise(error);
    } catch (const Raised& raised) {
      raised.error->restore();
    }
  });
}

}  // namespace kvcache::python
