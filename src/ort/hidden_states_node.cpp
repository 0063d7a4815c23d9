#include "ort/hidden_states_node.hpp"

#include "ort/selected_tokens.hpp"

namespace kvcache::ort {

HiddenStatesKernel::HiddenStatesKernel(const OrtKernelInfo* info, const NodeResources& resources)
    : name_(node_name(kName, info)), threads_(resources.threads) {
  const Ort::ConstKernelInfo node(info);
  norm_ = node_norm(info, name_, kHiddenNormWeight, kHiddenNormBias,
                    constant_input(info, kHiddenNormWeight, name_).shape.at(0), resources);
  check(norm_.weight != nullptr, name_, "a HiddenStates must have a norm");
  resources.facts.norms.insert_or_assign(node.GetNodeName(), norm_.epsilon);
  resources.weights.norms.insert_or_assign(node.GetNodeName(), norm_);
}

OrtStatusPtr HiddenStatesKernel::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    const Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(kHiddenX);
    Shape shape = shape_of(x);
    check(shape.size() == 3 && shape[2] == norm_.size, name_,
          "x must be [batch, seq_len, size of the norm's weight]");
    kernels::TokenNormArgs args = norm_;
    args.x = x.GetTensorData<float>();
    if (const SelectedTokens of =
            selected_tokens(context.GetInput(kHiddenPositions), shape[1], name_);
        of.positions != nullptr) {
      args.selected = of.positions;
      args.selected_count = of.count;
      args.batch_tokens = shape[1];
      shape[1] = of.count;
    }
    args.tokens = shape[0] * shape[1];
    args.out = context.GetOutput(0, shape).GetTensorMutableData<float>();
    kernels::norm_cpu(args, threads_);
  });
}

}  // namespace kvcache::ort
