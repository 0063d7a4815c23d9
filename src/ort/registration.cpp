#include "ort/registration.hpp"

#include <type_traits>
#include <utility>

#include "ort/cached_attention.hpp"
#include "ort/linear.hpp"
#include "ort/quantized_linear.hpp"
#include "ort/select_tokens.hpp"
#include "ort/token_embedding.hpp"
#ifdef KVCACHE_USE_CUDA
#include "ort/cuda/nodes_cuda.hpp"
#endif

namespace kvcache::ort {

NodeDomain::NodeDomain(Device device, [[maybe_unused]] DataType type, NodeCounters& counters,
                       const ThreadTeam* threads)
    : domain_("kvcache") {
#ifdef KVCACHE_USE_CUDA
  if (device == Device::cuda) {
    for (auto& op : cuda_nodes(counters, facts_)) {
      add(std::move(op));
    }
    return;
  }
#endif
  static_cast<void>(device);
  if (threads != nullptr) {
    add_float32_nodes(counters, *threads);
  } else {
    add_16_bit_nodes(counters);
  }
}

void NodeDomain::add_16_bit_nodes(NodeCounters& counters) {
  const auto add_for_type = [&]<typename T>(T /*element*/) {
    add(std::make_shared<CachedAttentionOp<T, T>>(counters, nullptr));
    add(std::make_shared<SelectTokensOp<T>>());
  };
  add_for_type(Float16{});
  add_for_type(BFloat16{});
}

void NodeDomain::add_float32_nodes(NodeCounters& counters, const ThreadTeam& threads) {
  const auto add_with_weight = [&]<typename Kernel>(std::type_identity<Kernel> /*kernel*/) {
    add(std::make_shared<WeightOp<Kernel>>(weights_, threads, facts_));
  };
  const auto add_for_weights = [&]<typename W>(W /*element*/) {
    add_with_weight(std::type_identity<TokenEmbeddingKernel<W>>());
    add_with_weight(std::type_identity<LinearKernel<LinearNode::norm, W>>());
    add_with_weight(std::type_identity<LinearKernel<LinearNode::norm_gelu, W>>());
    add_with_weight(std::type_identity<LinearKernel<LinearNode::residual, W>>());
    add_with_weight(std::type_identity<HeadKernel<W>>());
  };
  add_for_weights(float{});
  add_for_weights(Float16{});
  add_for_weights(BFloat16{});
  constexpr auto kRounded = kernels::Multiplied::as_bfloat16;
  add_with_weight(std::type_identity<LinearKernel<LinearNode::norm, BFloat16, kRounded>>());
  add_with_weight(std::type_identity<LinearKernel<LinearNode::norm_gelu, BFloat16, kRounded>>());
  add_with_weight(std::type_identity<LinearKernel<LinearNode::residual, BFloat16, kRounded>>());
  add_with_weight(std::type_identity<HeadKernel<BFloat16, kRounded>>());
  add_with_weight(std::type_identity<QuantizedTokenEmbeddingKernel>());
  add_with_weight(std::type_identity<QuantizedLinearKernel<LinearNode::norm>>());
  add_with_weight(std::type_identity<QuantizedLinearKernel<LinearNode::norm_gelu>>());
  add_with_weight(std::type_identity<QuantizedLinearKernel<LinearNode::residual>>());
  add_with_weight(std::type_identity<QuantizedLinearKernel<LinearNode::head>>());
  add(std::make_shared<CachedAttentionOp<float, float>>(counters, &threads));
  add(std::make_shared<CachedAttentionOp<float, Float16>>(counters, &threads));
  add(std::make_shared<CachedAttentionOp<float, BFloat16>>(counters, &threads));
  add(std::make_shared<CachedAttentionOp<float, std::int8_t>>(counters, &threads));
}

void NodeDomain::add(std::shared_ptr<OrtCustomOp> op) {
  domain_.Add(op.get());
  operators_.push_back(std::move(op));
}

NodeDomain::~NodeDomain() = default;

void NodeDomain::add_to(Ort::SessionOptions& options) const { options.Add(domain_); }

}  // namespace kvcache::ort
