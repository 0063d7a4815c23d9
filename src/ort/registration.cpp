#include "ort/registration.hpp"

#include <optional>
#include <utility>

#include "ort/cached_attention.hpp"
#include "ort/embedding_node.hpp"
#include "ort/hidden_states_node.hpp"
#include "ort/product_node.hpp"
#include "ort/select_tokens.hpp"
#include "ort/value_head_node.hpp"
#ifdef KVCACHE_USE_CUDA
#include "ort/cuda/nodes_cuda.hpp"
#endif

namespace kvcache::ort {

NodeDomain::NodeDomain(Device device, [[maybe_unused]] DataType type, NodeCounters& counters,
                       const model::LayerGroups& groups, const ThreadPool* threads,
                       [[maybe_unused]] bool invariant_results)
    : groups_(groups), domain_("kvcache") {
#ifdef KVCACHE_USE_CUDA
  if (device == Device::cuda) {
    for (auto& op : cuda_nodes(counters, groups_, facts_, node_weights_)) {
      add(std::move(op));
    }
    return;
  }
#endif
  static_cast<void>(device);
  if (threads != nullptr) {
    add_float32_nodes(counters, *threads, invariant_results);
  } else {
    add_16_bit_nodes(counters);
  }
}

void NodeDomain::add_16_bit_nodes(NodeCounters& counters) {
  const auto add_for_type = [&]<typename T>(T /*element*/) {
    add(std::make_shared<CachedAttentionOp<T, T>>(counters, groups_, facts_, std::nullopt));
    add(std::make_shared<SelectTokensOp<T>>());
  };
  add_for_type(Float16{});
  add_for_type(BFloat16{});
}

void NodeDomain::add_float32_nodes(NodeCounters& counters, const ThreadPool& threads,
                                   bool invariant_results) {
  const NodeResources resources{weights_, threads, node_weights_, facts_, invariant_results};
  const auto add_for_weights = [&]<typename W>(W /*element*/) {
    add(std::make_shared<EmbeddingOp<W>>(resources));
    add(std::make_shared<ProductOp<ProductRole::linear, W>>(resources));
    add(std::make_shared<ProductOp<ProductRole::head, W>>(resources));
  };
  add_for_weights(float{});
  add_for_weights(Float16{});
  add_for_weights(BFloat16{});
  add_for_weights(std::uint8_t{});  // quantised
  add(std::make_shared<HiddenStatesOp>(resources));
  add(std::make_shared<ValueHeadOp>(resources));
  add(std::make_shared<CachedAttentionOp<float, float>>(counters, groups_, facts_, resources));
  add(std::make_shared<CachedAttentionOp<float, Float16>>(counters, groups_, facts_, resources));
  add(std::make_shared<CachedAttentionOp<float, BFloat16>>(counters, groups_, facts_, resources));
  add(std::make_shared<CachedAttentionOp<float, std::int8_t>>(counters, groups_, facts_,
                                                              resources));
}

void NodeDomain::add(std::shared_ptr<OrtCustomOp> op) {
  domain_.Add(op.get());
  operators_.push_back(std::move(op));
}

NodeDomain::~NodeDomain() = default;

void NodeDomain::add_to(Ort::SessionOptions& options) const { options.Add(domain_); }

}  // namespace kvcache::ort
