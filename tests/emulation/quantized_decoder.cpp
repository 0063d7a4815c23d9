#include "cuda_on_host.hpp"
// The copies that emulate.py makes.
#include "kernels/cuda/quantized_decoder.cu"
#include "kernels/cuda/quantized_decoder_pack.cu"
