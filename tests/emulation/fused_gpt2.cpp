#include "plan/cuda/fused_gpt2.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "plan/cuda/not_fused.hpp"

namespace kvcache::plan {

template <typename T>
bool has_gpt2_kernel(const Plan& /*plan*/, const CudaWeights& /*weights*/,
                     int /*multiprocessors*/) {
  return false;
}

template <typename T>
std::shared_ptr<FusedModel> fuse_gpt2(const Plan& /*plan*/, const CudaWeights& /*weights*/,
                                      const StepBinding& /*binding*/, int /*multiprocessors*/,
                                      cudaStream_t /*stream*/) {
  throw NotFused("models in GPT-2's form are not emulated");
}

template bool has_gpt2_kernel<__half>(const Plan&, const CudaWeights&, int);
template bool has_gpt2_kernel<__nv_bfloat16>(const Plan&, const CudaWeights&, int);
template std::shared_ptr<FusedModel> fuse_gpt2<__half>(const Plan&, const CudaWeights&,
                                                       const StepBinding&, int, cudaStream_t);
template std::shared_ptr<FusedModel> fuse_gpt2<__nv_bfloat16>(const Plan&, const CudaWeights&,
                                                              const StepBinding&, int,
                                                              cudaStream_t);

}  // namespace kvcache::plan
