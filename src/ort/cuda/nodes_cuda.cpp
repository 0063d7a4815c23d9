#include "ort/cuda/nodes_cuda.hpp"

#include "ort/cuda/attention_node.hpp"
#include "ort/cuda/hidden_states_node.hpp"
#include "ort/cuda/product_nodes.hpp"
#include "ort/cuda/quantized_nodes.hpp"
#include "ort/cuda/value_head_node.hpp"

namespace kvcache::ort {

std::vector<std::shared_ptr<OrtCustomOp>> cuda_nodes(NodeCounters& counters,
                                                     const model::LayerGroups& groups,
                                                     GraphFacts& facts,
                                                     plan::NodeWeights& weights) {
  weights.cuda = std::make_shared<plan::CudaWeights>();
  const CudaNodeResources resources{std::make_shared<DeviceRoom>(), counters, groups, facts,
                                    *weights.cuda};
  std::vector<std::shared_ptr<OrtCustomOp>> nodes;
  const auto add_for_type = [&]<typename T>(T /*element*/) {
    nodes.push_back(std::make_shared<CudaNode<EmbeddingNode<T>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<LinearNode<T>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<HeadNode<T>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<CachedAttentionNode<T>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<HiddenStatesNode<T>>>(resources));
    nodes.push_back(std::make_shared<CudaNode<ValueHeadNode<T>>>(resources));
  };
  add_for_type(float{});
  add_for_type(__half{});
  add_for_type(__nv_bfloat16{});
  // Of float32 models whose weights, keys or values are narrower.
  nodes.push_back(std::make_shared<CudaNode<QuantizedEmbeddingNode>>(resources));
  nodes.push_back(std::make_shared<CudaNode<QuantizedLinearNode>>(resources));
  nodes.push_back(std::make_shared<CudaNode<QuantizedHeadNode>>(resources));
  nodes.push_back(std::make_shared<CudaNode<CachedAttentionNode<float, __half>>>(resources));
  nodes.push_back(std::make_shared<CudaNode<CachedAttentionNode<float, __nv_bfloat16>>>(resources));
  nodes.push_back(std::make_shared<CudaNode<CachedAttentionNode<float, std::int8_t>>>(resources));
  return nodes;
}

}  // namespace kvcache::ort
