#include "cuda_on_host.hpp"
// The copies that emulate.py makes.
#include "kernels/cuda/fused_decoder.cu"
#include "kernels/cuda/fused_decoder_pack.cu"
