// The weights of a plan's operations: each node of the graph tells its own when ONNX Runtime makes
// it, or on a GPU when it first runs.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cached_attention_args.hpp"
#include "kernels/cpu/embedding_cpu.hpp"
#include "kernels/cpu/norm_cpu.hpp"
#include "kernels/cpu/product_cpu.hpp"
#include "kernels/cpu/value_head_cpu.hpp"

namespace kvcache::plan {

struct CudaWeights;  // plan/cuda/cuda_weights.hpp

/// By the node's name. What they point to lives as long as the session whose nodes they are.
struct NodeWeights {
  std::map<std::string, kernels::Embedding> embeddings;
  std::map<std::string, kernels::Product> products;
  std::map<std::string, kernels::AttentionRules> attentions;
  std::map<std::string, kernels::TokenNormArgs> norms;  // without what is another in every run
  std::map<std::string, kernels::ValueHead> value_heads;
  std::shared_ptr<CudaWeights> cuda;  // null where the model runs on the CPU
};

}  // namespace kvcache::plan
