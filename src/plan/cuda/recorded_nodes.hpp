// The nodes that a fused step is made from.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <variant>

#include "kernels/cached_attention_args.hpp"
#include "kernels/cuda/embedding_cuda.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "plan/node_recording.hpp"

namespace kvcache::ops {

/// Nothing: a node that this cannot describe.
using RecordedNode = std::variant<std::monostate, EmbeddingCudaArgs<__half>, LinearCudaArgs<__half>,
                                  CachedAttentionArgs<__half>, HeadCudaArgs<__half>,
                                  EmbeddingCudaArgs<__nv_bfloat16>, LinearCudaArgs<__nv_bfloat16>,
                                  CachedAttentionArgs<__nv_bfloat16>, HeadCudaArgs<__nv_bfloat16>>;

using NodeRecording = Recording<RecordedNode>;

}  // namespace kvcache::ops
