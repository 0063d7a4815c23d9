#include "ort/product_node.hpp"

#include <fmt/format.h>

#include "ort/selected_tokens.hpp"

namespace kvcache::ort {
namespace {

constexpr std::pair<const char*, kernels::RoundInput> kRoundings[]{
    {"", kernels::RoundInput::none},
    {"bfloat16", kernels::RoundInput::bfloat16},
    {"int8", kernels::RoundInput::int8}};

/// Rounding is for the weights that have kernels for it.
void check_rounding(const std::string& node, const kernels::Product& product) {
  using kernels::RoundInput;
  const bool fits = product.round_input == RoundInput::none ||
                    (product.round_input == RoundInput::int8
                         ? std::holds_alternative<kernels::QuantizedWeight>(product.weight)
                         : std::holds_alternative<const BFloat16*>(product.weight));
  check(fits, node, "round_input must be int8 with a quantised weight, bfloat16 with bfloat16");
}

}  // namespace

ProductKernel::ProductKernel(const OrtKernelInfo* info, ProductRole role,
                             const NodeResources& resources, const NodeMatrix& weight)
    : name_(node_name(product_name(role), info)), role_(role), threads_(resources.threads) {
  product_.weight = weight.matrix;
  product_.order = inputs_of(role, info).order;
  product_.inputs = weight.inputs;
  product_.outputs = weight.outputs;
  product_.gated = is_gated(info);
  product_.bias =
      node_vector(info, name_, kBias, (product_.gated ? 2 : 1) * weight.outputs, resources);
  const kernels::TokenNormArgs norm =
      node_norm(info, name_, kNormWeight, kNormBias, weight.inputs, resources);
  product_.norm_kind = norm.kind;
  product_.norm_weight = norm.weight;
  product_.norm_bias = norm.bias;
  product_.epsilon = norm.epsilon;
  product_.activation = choice(info, name_, "activation", kActivations);
  product_.round_input = choice(info, name_, "round_input", kRoundings);
  product_.invariant = resources.invariant_results;
  check_rounding(name_, product_);
  if (role == ProductRole::linear) {
    product_.post_norm_weight =
        node_vector(info, name_, kPostNormWeight, weight.outputs, resources);
  }
  if (product_.post_norm_weight != nullptr) {
    check(product_.norm_weight == nullptr, name_, "a Linear has a norm or a post_norm, not both");
    product_.post_epsilon = Ort::ConstKernelInfo(info).GetAttribute<float>("epsilon");
  }
  product_.soft_cap = attribute_or<float>(info, "soft_cap", 0);
  if (role == ProductRole::head) {
    check(product_.norm_weight != nullptr, name_, "a Head must have a norm");
    check(product_.bias == nullptr, name_, "there is no kernel for a Head with a bias");
    check(!product_.gated && product_.soft_cap >= 0, name_,
          "a Head has no gate, and a soft_cap that is positive");
  } else {
    check(product_.soft_cap == 0, name_, "only a Head may have a soft_cap");
  }
  if (product_.round_input != kernels::RoundInput::none) {
    resources.facts.rounded_to.emplace(
        product_.round_input == kernels::RoundInput::int8 ? "int8" : "bfloat16");
  }
  const std::string node = Ort::ConstKernelInfo(info).GetNodeName();
  resources.facts.products.insert_or_assign(
      node, GraphFacts::Product{product_.outputs, product_.epsilon,
                                attribute_or<std::string>(info, "activation", ""),
                                attribute_or<std::string>(info, "norm", ""), product_.gated,
                                product_.soft_cap, product_.post_epsilon});
  resources.weights.products.insert_or_assign(node, product_);
}

OrtStatusPtr ProductKernel::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    const Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(kX);
    const Shape shape = shape_of(x);
    if (shape.size() != 3 || shape[2] != product_.inputs) {
      fail(fmt::format("{}: x must be [batch, seq_len, {}]", name_, product_.inputs));
    }
    kernels::ProductRun run;
    run.x = x.GetTensorData<float>();
    Shape out{shape[0], shape[1], product_.outputs};
    const auto last = context.GetInput(kResidual);
    if (role_ == ProductRole::head) {
      if (const SelectedTokens of = selected_tokens(last, shape[1], name_);
          of.positions != nullptr) {
        run.selected = of.positions;
        run.selected_count = of.count;
        run.batch_tokens = shape[1];
        out[1] = of.count;
      }
    } else if (static_cast<const OrtValue*>(last) != nullptr) {
      check(shape_of(last) == out, name_, "residual must be [batch, seq_len, outputs]");
      run.residual = last.GetTensorData<float>();
    }
    run.tokens = out[0] * out[1];
    run.out = context.GetOutput(0, out).GetTensorMutableData<float>();
    kernels::product_cpu(product_, run, threads_);
  });
}

}  // namespace kvcache::ort
