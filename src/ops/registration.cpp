#include "ops/registration.hpp"

#include <utility>

#include "ops/cached_attention.hpp"
#include "ops/embedding.hpp"
#include "ops/linear.hpp"
#include "ops/quantized_linear.hpp"
#include "ops/select_tokens.hpp"
#ifdef KVCACHE_USE_CUDA
#include "ops/cuda/nodes_cuda.hpp"
#endif

namespace kvcache::ops {

NodeDomain::NodeDomain(Device device, DataType type, NodeCounters& counters) : domain_("kvcache") {
#ifdef KVCACHE_USE_CUDA
  if (device == Device::cuda) {
    for (auto& op : cuda_nodes(counters)) {
      add(std::move(op));
    }
    return;
  }
#endif
  static_cast<void>(device);
  add_cpu_nodes(type, counters);
}

void NodeDomain::add_cpu_nodes(DataType type, NodeCounters& counters) {
  const auto add_for_type = [&]<typename T>(T /*element*/) {
    add(std::make_shared<CachedAttentionOp<T, T>>(counters));
    add(std::make_shared<SelectTokensOp<T>>());
  };
  add_for_type(float{});
  add_for_type(Ort::Float16_t{});
  add_for_type(Ort::BFloat16_t{});
  if (type != DataType::float32) {
    return;
  }
  add(std::make_shared<CachedAttentionOp<float, Ort::Float16_t>>(counters));
  add(std::make_shared<CachedAttentionOp<float, Ort::BFloat16_t>>(counters));
  add(std::make_shared<CachedAttentionOp<float, std::int8_t>>(counters));
  const auto add_for_weights = [&]<typename W>(W /*element*/) {
    add(std::make_shared<WeightOp<LinearKernel<LinearNode::norm, W>>>(weights_));
    add(std::make_shared<WeightOp<LinearKernel<LinearNode::norm_gelu, W>>>(weights_));
    add(std::make_shared<WeightOp<LinearKernel<LinearNode::residual, W>>>(weights_));
    add(std::make_shared<WeightOp<HeadKernel<W>>>(weights_));
    add(std::make_shared<WeightOp<EmbeddingKernel<W>>>(weights_));
  };
  add_for_weights(float{});
  add_for_weights(Ort::Float16_t{});
  add_for_weights(Ort::BFloat16_t{});
  constexpr auto kRounded = Multiplied::as_bfloat16;
  add(std::make_shared<WeightOp<LinearKernel<LinearNode::norm, Ort::BFloat16_t, kRounded>>>(
      weights_));
  add(std::make_shared<WeightOp<LinearKernel<LinearNode::norm_gelu, Ort::BFloat16_t, kRounded>>>(
      weights_));
  add(std::make_shared<WeightOp<LinearKernel<LinearNode::residual, Ort::BFloat16_t, kRounded>>>(
      weights_));
  add(std::make_shared<WeightOp<HeadKernel<Ort::BFloat16_t, kRounded>>>(weights_));
  add(std::make_shared<WeightOp<QuantizedLinearKernel<LinearNode::norm>>>(weights_));
  add(std::make_shared<WeightOp<QuantizedLinearKernel<LinearNode::norm_gelu>>>(weights_));
  add(std::make_shared<WeightOp<QuantizedLinearKernel<LinearNode::residual>>>(weights_));
  add(std::make_shared<WeightOp<QuantizedHeadKernel>>(weights_));
  add(std::make_shared<WeightOp<QuantizedEmbeddingKernel>>(weights_));
}

void NodeDomain::add(std::shared_ptr<OrtCustomOp> op) {
  domain_.Add(op.get());
  operators_.push_back(std::move(op));
}

NodeDomain::~NodeDomain() = default;

void NodeDomain::add_to(Ort::SessionOptions& options) const { options.Add(domain_); }

}  // namespace kvcache::ops
