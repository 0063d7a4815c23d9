// The activation functions of a value head's products, the same on both devices.
#pragma once

#include <cstddef>

namespace kvcache::kernels {

enum class ValueActivation { identity, relu, gelu_erf, tanh, sigmoid };

inline constexpr std::size_t kMostValueLayers = 3;  // before the one that gives the number

}  // namespace kvcache::kernels
