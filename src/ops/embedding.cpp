#include "ops/embedding.hpp"

#include <algorithm>

namespace kvcache::ops {

template <typename W>
OrtStatusPtr EmbeddingKernel<W>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto ids = context.GetInput(0);
    const auto weight = context.GetInput(1);
    const Shape ids_shape = shape_of(ids);
    const Shape weight_shape = shape_of(weight);
    check(ids_shape.size() == 2 && weight_shape.size() == 2, name_,
          "ids must be [batch, seq_len] and weight [count, size]");
    const std::int64_t count = weight_shape[0];
    const std::int64_t size = weight_shape[1];
    const W* table = weight_ != nullptr ? weight_ : raw_data<W>(weight);
    const auto* id = ids.GetTensorData<std::int64_t>();
    auto* out = raw_output<W>(context, 0, Shape{ids_shape[0], ids_shape[1], size});
    for (std::int64_t i = 0; i < ids_shape[0] * ids_shape[1]; ++i) {
      check(id[i] >= 0 && id[i] < count, name_, "ids must lie in [0, rows of the weight)");
      out = std::copy_n(table + id[i] * size, size, out);
    }
  });
}

template class EmbeddingKernel<float>;
template class EmbeddingKernel<Ort::Float16_t>;
template class EmbeddingKernel<Ort::BFloat16_t>;

}  // namespace kvcache::ops
