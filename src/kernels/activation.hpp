// The activation functions of a model's products, the same on both devices.
#pragma once

namespace kvcache::kernels {

enum class Activation { none, gelu_tanh, gelu_erf, silu };

}  // namespace kvcache::kernels
