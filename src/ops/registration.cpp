#include "ops/registration.hpp"

#include <utility>

#include "ops/cached_attention.hpp"
#include "ops/embedding.hpp"
#include "ops/linear.hpp"
#include "ops/select_tokens.hpp"

namespace kvcache::ops {

template <typename Op, typename... Args>
void NodeDomain::add(Args&&... args) {
  auto op = std::make_shared<Op>(std::forward<Args>(args)...);
  domain_.Add(op.get());
  operators_.push_back(std::move(op));
}

template <typename T>
void NodeDomain::add_for_type(NodeCounters& counters) {
  add<CachedAttentionOp<T>>(counters);
  add<SelectTokensOp<T>>();
}

NodeDomain::NodeDomain(bool float32_weights, NodeCounters& counters) : domain_("kvcache") {
  add_for_type<float>(counters);
  add_for_type<Ort::Float16_t>(counters);
  add_for_type<Ort::BFloat16_t>(counters);
  if (float32_weights) {
    add<WeightOp<LinearKernel<Activation::none>>>(weights_);
    add<WeightOp<LinearKernel<Activation::gelu>>>(weights_);
    add<WeightOp<HeadKernel>>(weights_);
    add<WeightOp<EmbeddingKernel>>(weights_);
  }
}

NodeDomain::~NodeDomain() = default;

void NodeDomain::add_to(Ort::SessionOptions& options) const { options.Add(domain_); }

}  // namespace kvcache::ops
