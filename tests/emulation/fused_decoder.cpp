#include "cuda_on_host.hpp"
// The copy that emulate.py makes.
#include "kernels/cuda/fused_decoder.cu"
