// Elements of batches: tuples of so many parts.
#pragma once

#include <fmt/format.h>
#include <nanobind/nanobind.h>

#include <cstddef>
#include <string_view>

namespace kvcache::python {

namespace nb = nanobind;

/// The parts of a batch's element.
/// @throws nb::type_error, naming `parts`, where it is no tuple of `least` to `most` of them
inline nb::tuple to_tuple(nb::handle element, std::string_view parts, std::size_t least,
                          std::size_t most) {
  if (nb::tuple tuple; nb::try_cast(element, tuple)) {
    if (const std::size_t size = nb::len(tuple); size >= least && size <= most) {
      return tuple;
    }
  }
  throw nb::type_error(fmt::format("an element of the batch must be a tuple {}", parts).c_str());
}

}  // namespace kvcache::python
