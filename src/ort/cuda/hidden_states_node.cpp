#include "ort/cuda/hidden_states_node.hpp"

#include "kernels/cuda/linear_cuda.hpp"

namespace kvcache::ort {

template <typename T>
HiddenStatesNode<T>::HiddenStatesNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : name_(node_name(kName, info)),
      epsilon_(Ort::ConstKernelInfo(info).GetAttribute<float>("epsilon")) {
  check(choice(info, name_, "norm", kNorms) && has_input(info, kHiddenNormBias), name_,
        "there is a kernel for a layer_norm with a bias, no other");
  resources.facts.norms.insert_or_assign(Ort::ConstKernelInfo(info).GetNodeName(), epsilon_);
}

template <typename T>
OrtStatusPtr HiddenStatesNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(kHiddenX);
    const auto weight = context.GetInput(kHiddenNormWeight);
    const auto bias = context.GetInput(kHiddenNormBias);
    const auto positions = context.GetInput(kHiddenPositions);
    const Shape shape = shape_of(x);
    check(shape.size() == 3 && shape_of(weight) == Shape{shape[2]} &&
              shape_of(bias) == Shape{shape[2]},
          name_, "x must be [batch, seq_len, size], the norm's weight and bias [size]");
    const auto* const selected = optional_data<std::int64_t>(positions);
    check(selected == nullptr || shape[0] == 1, name_,
          "logits_positions are those of a batch of one");
    const std::int64_t count = selected == nullptr ? shape[1] : shape_of(positions)[0];
    T* const out = raw_output<T>(context, 0, Shape{shape[0], count, shape[2]});
    if (shape[0] * count > 0) {
      check_launch(kernels::layer_norm<T>(raw_data<T>(x), selected,
                                          {raw_data<T>(weight), raw_data<T>(bias), epsilon_},
                                          shape[0] * count, shape[2], out, stream_of(context)),
                   name_);
    }
  });
}

template class HiddenStatesNode<float>;
template class HiddenStatesNode<__half>;
template class HiddenStatesNode<__nv_bfloat16>;

}  // namespace kvcache::ort
