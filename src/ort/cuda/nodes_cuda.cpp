#include "ort/cuda/nodes_cuda.hpp"

#include "ort/cuda/attention_node.hpp"
#include "ort/cuda/linear_nodes.hpp"

namespace kvcache::ort {

std::vector<std::shared_ptr<OrtCustomOp>> cuda_nodes(NodeCounters& counters, GraphFacts& facts) {
  const CudaNodeResources resources{std::make_shared<DeviceRoom>(), counters, facts};
  std::vector<std::shared_ptr<OrtCustomOp>> nodes;
  const auto add_for_type = [&]<typename T>(T /*element*/) {
    nodes.push_back(std::make_shared<CudaNode<TokenEmbeddingNode<T>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<NormLinearNode<T, false>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<NormLinearNode<T, true>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<LinearResidualNode<T>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<CachedAttentionNode<T>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<SelectNormHeadNode<T>>>(resources));
  };
  add_for_type(float{});
  add_for_type(__half{});
  add_for_type(__nv_bfloat16{});
  return nodes;
}

}  // namespace kvcache::ort
