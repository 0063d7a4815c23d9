// Activation functions of one value.
#pragma once

#include "kernels/activation.hpp"

namespace kvcache::kernels {

/// The tanh approximation of gelu (Hendrycks and Gimpel, arXiv:1606.08415).
__device__ inline float gelu_tanh(float x) {
  const float cubic = 0.044715F * x * x * x;
  return 0.5F * x * (1.0F + tanhf(0.7978845608F * (x + cubic)));
}

__device__ inline float gelu_erf(float x) { return 0.5F * x * (1.0F + erff(x * 0.70710678F)); }

__device__ inline float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }

__device__ inline float activated(Activation activation, float x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::gelu_tanh:
      return gelu_tanh(x);
    case Activation::gelu_erf:
      return gelu_erf(x);
    case Activation::silu:
      return x * sigmoid(x);
  }
  return x;
}

}  // namespace kvcache::kernels
