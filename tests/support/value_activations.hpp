// The activation functions of value heads in double precision.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/value_activation.hpp"

namespace kvcache::test {

inline double activated(kernels::ValueActivation activation, double x) {
  using kernels::ValueActivation;
  switch (activation) {
    case ValueActivation::identity:
      return x;
    case ValueActivation::relu:
      return std::max(x, 0.0);
    case ValueActivation::gelu_erf:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case ValueActivation::tanh:
      return std::tanh(x);
    case ValueActivation::sigmoid:
      return 1 / (1 + std::exp(-x));
  }
  return std::nan("");
}

}  // namespace kvcache::test
