#include "ort/cuda/hidden_states_node.hpp"

#include "kernels/cuda/linear_cuda.hpp"

namespace kvcache::ort {

template <typename T>
HiddenStatesNode<T>::HiddenStatesNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : name_(node_name(kName, info)), norm_(info, name_, kHiddenNormWeight, kHiddenNormBias) {
  check(norm_.exists(), name_, "there is no kernel for hidden states without a norm");
  resources.facts.norms.insert_or_assign(Ort::ConstKernelInfo(info).GetNodeName(), norm_.epsilon());
}

template <typename T>
OrtStatusPtr HiddenStatesNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(kHiddenX);
    const auto positions = context.GetInput(kHiddenPositions);
    const Shape shape = shape_of(x);
    check(shape.size() == 3, name_, "x must be [batch, seq_len, size]");
    const auto* const selected = optional_data<std::int64_t>(positions);
    check(selected == nullptr || shape[0] == 1, name_,
          "logits_positions are those of a batch of one");
    const std::int64_t count = selected == nullptr ? shape[1] : shape_of(positions)[0];
    T* const out = raw_output<T>(context, 0, Shape{shape[0], count, shape[2]});
    if (shape[0] * count > 0) {
      check_launch(kernels::norm_rows<T>(raw_data<T>(x), selected, norm_.args<T>(context, shape[2]),
                                         shape[0] * count, shape[2], out, stream_of(context)),
                   name_);
    }
  });
}

template class HiddenStatesNode<float>;
template class HiddenStatesNode<__half>;
template class HiddenStatesNode<__nv_bfloat16>;

}  // namespace kvcache::ort
