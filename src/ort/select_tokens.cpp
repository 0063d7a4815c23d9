#include "ort/select_tokens.hpp"

#include <algorithm>

#include "ort/selected_tokens.hpp"

namespace kvcache::ort {

template <typename T>
SelectTokensKernel<T>::SelectTokensKernel(const OrtKernelInfo* info)
    : name_(node_name("SelectTokens", info)) {}

template <typename T>
OrtStatusPtr SelectTokensKernel<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    compute(context);
  });
}

template <typename T>
void SelectTokensKernel<T>::compute(Ort::KernelContext& context) {
  const auto hidden = context.GetInput(0);
  const Shape shape = shape_of(hidden);
  check(shape.size() == 3, name_, "hidden must be [batch, seq_len, n]");
  const std::int64_t batch = shape[0];
  const std::int64_t seq_len = shape[1];
  const std::int64_t width = shape[2];
  const auto* from = hidden.template GetTensorData<T>();
  const auto [chosen, count] = selected_tokens(context.GetInput(1), seq_len, name_);
  if (chosen == nullptr) {
    std::copy_n(from, batch * seq_len * width,
                context.GetOutput(0, shape).template GetTensorMutableData<T>());
    return;
  }
  auto* to = context.GetOutput(0, Shape{batch, count, width}).template GetTensorMutableData<T>();
  for (std::int64_t row = 0; row < batch; ++row) {
    for (std::int64_t i = 0; i < count; ++i) {
      to = std::copy_n(from + (row * seq_len + chosen[i]) * width, width, to);
    }
  }
}

template class SelectTokensKernel<float>;
template class SelectTokensKernel<Float16>;
template class SelectTokensKernel<BFloat16>;

}  // namespace kvcache::ort
