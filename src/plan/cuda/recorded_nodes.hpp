// The nodes that a fused step is made from.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <variant>

#include "kernels/cached_attention_args.hpp"
#include "kernels/cuda/embedding_cuda.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "plan/node_recording.hpp"

namespace kvcache::plan {

/// Nothing: a node that this cannot describe.
using RecordedNode =
    std::variant<std::monostate, kernels::EmbeddingCudaArgs<__half>,
                 kernels::LinearCudaArgs<__half>, kernels::CachedAttentionArgs<__half>,
                 kernels::HeadCudaArgs<__half>, kernels::EmbeddingCudaArgs<__nv_bfloat16>,
                 kernels::LinearCudaArgs<__nv_bfloat16>,
                 kernels::CachedAttentionArgs<__nv_bfloat16>, kernels::HeadCudaArgs<__nv_bfloat16>>;

using NodeRecording = Recording<RecordedNode>;

}  // namespace kvcache::plan
