// The activation functions of products in double precision.
#pragma once

#include <cmath>

#include "kernels/activation.hpp"

namespace kvcache::test {

using kernels::Activation;

inline double gelu(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

inline constexpr Activation kActivations[]{Activation::none, Activation::gelu_tanh,
                                           Activation::gelu_erf, Activation::silu};

inline double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::gelu_tanh:
      return gelu(x);
    case Activation::gelu_erf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::silu:
      return x / (1.0 + std::exp(-x));
  }
  return 0;
}

}  // namespace kvcache::test
