// The weights of a model on the GPU, by the nodes that read them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <map>
#include <string>
#include <variant>

#include "kernels/cuda/embedding_cuda.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/norm_and_turn_cuda.hpp"
#include "kernels/cuda/quantized_linear_cuda.hpp"
#include "kernels/cuda/value_head_cuda.hpp"

namespace kvcache::plan {

/// A node's weights and sizes, as its first run had them; what else its arguments say is of that
/// run alone.
using CudaNode =
    std::variant<kernels::EmbeddingCudaArgs<__half>, kernels::LinearCudaArgs<__half>,
                 kernels::GatedLinearCudaArgs<__half>, kernels::AttentionRulesCuda<__half>,
                 kernels::HeadCudaArgs<__half>, kernels::ValueHeadCudaArgs<__half>,
                 kernels::EmbeddingCudaArgs<__nv_bfloat16>, kernels::LinearCudaArgs<__nv_bfloat16>,
                 kernels::GatedLinearCudaArgs<__nv_bfloat16>,
                 kernels::AttentionRulesCuda<__nv_bfloat16>, kernels::HeadCudaArgs<__nv_bfloat16>,
                 kernels::ValueHeadCudaArgs<__nv_bfloat16>, kernels::QuantizedEmbeddingCudaArgs,
                 kernels::QuantizedLinearCudaArgs, kernels::AttentionRulesCuda<float>>;

/// Of the types that a fused step has. Written and read under the stream's lock.
struct CudaWeights {
  std::map<std::string, CudaNode> nodes;
};

}  // namespace kvcache::plan
