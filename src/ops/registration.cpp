#include "ops/registration.hpp"

#include "ops/cached_attention.hpp"
#include "ops/fast_gelu.hpp"
#include "ops/select_tokens.hpp"

namespace kvcache::ops {

struct NodeDomain::Operators {
  explicit Operators(NodeCounters& counters)
      : attention_f32(counters), attention_f16(counters), attention_bf16(counters) {}

  CachedAttentionOp<float> attention_f32;
  CachedAttentionOp<Ort::Float16_t> attention_f16;
  CachedAttentionOp<Ort::BFloat16_t> attention_bf16;
  FastGeluOp<float> gelu_f32;
  FastGeluOp<Ort::Float16_t> gelu_f16;
  FastGeluOp<Ort::BFloat16_t> gelu_bf16;
  SelectTokensOp<float> select_f32;
  SelectTokensOp<Ort::Float16_t> select_f16;
  SelectTokensOp<Ort::BFloat16_t> select_bf16;
};

NodeDomain::NodeDomain(NodeCounters& counters)
    : operators_(std::make_unique<Operators>(counters)), domain_("kvcache") {
  domain_.Add(&operators_->attention_f32);
  domain_.Add(&operators_->attention_f16);
  domain_.Add(&operators_->attention_bf16);
  domain_.Add(&operators_->gelu_f32);
  domain_.Add(&operators_->gelu_f16);
  domain_.Add(&operators_->gelu_bf16);
  domain_.Add(&operators_->select_f32);
  domain_.Add(&operators_->select_f16);
  domain_.Add(&operators_->select_bf16);
}

NodeDomain::~NodeDomain() = default;

void NodeDomain::add_to(Ort::SessionOptions& options) const { options.Add(domain_); }

}  // namespace kvcache::ops
