// Numbers that C++ made, as arrays of numpy that own them.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace kvcache::python {

namespace nb = nanobind;

/// A new array, float32, [values.size()].
inline nb::object to_numpy_values(std::vector<float> values) {
  auto held = std::make_unique<std::vector<float>>(std::move(values));
  float* const data = held->data();
  const std::size_t size = held->size();
  const nb::capsule owner(held.release(), [](void* vector) noexcept {
    delete static_cast<std::vector<float>*>(vector);
  });
  return nb::cast(nb::ndarray<nb::numpy, float, nb::ndim<1>>(data, {size}, owner));
}

/// A view that cannot be written to; `owner` lives as long.
inline nb::object to_numpy_view(std::span<const float> values, nb::handle owner) {
  return nb::cast(nb::ndarray<nb::numpy, const float, nb::ndim<1>, nb::c_contig>(
      values.data(), {values.size()}, owner));
}

}  // namespace kvcache::python
