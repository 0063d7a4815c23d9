#include "plan/cuda/fused_model.hpp"

#include "plan/cuda/fused_decoder_model.hpp"
#include "plan/cuda/fused_gpt2.hpp"
#include "plan/cuda/not_fused.hpp"
#include "plan/cuda/quantized_decoder_model.hpp"

namespace kvcache::plan {

std::shared_ptr<FusedModel> fuse(const Plan& plan, const CudaWeights& weights,
                                 const StepBinding& binding, int multiprocessors,
                                 std::shared_ptr<FusedModel> model, cudaStream_t stream,
                                 std::string& why_not) {
  try {
    if (model != nullptr) {
      model->check(binding);
      return model;
    }
    const auto first = weights.nodes.find(kEmbeddingNode);
    require(first != weights.nodes.end(), "its token embedding is of float32");
    if (std::holds_alternative<kernels::QuantizedEmbeddingCudaArgs>(first->second)) {
      return fuse_quantized_decoder(plan, weights, binding, multiprocessors, stream);
    }
    const auto make = [&]<typename T>(const kernels::EmbeddingCudaArgs<T>& /*of_type*/) {
      if (has_gpt2_kernel<T>(plan, weights, multiprocessors)) {
        return fuse_gpt2<T>(plan, weights, binding, multiprocessors, stream);
      }
      require_large_layers<T>(plan, weights);
      return fuse_decoder<T>(plan, weights, binding, multiprocessors, stream);
    };
    if (const auto* half = std::get_if<kernels::EmbeddingCudaArgs<__half>>(&first->second)) {
      return make(*half);
    }
    return make(std::get<kernels::EmbeddingCudaArgs<__nv_bfloat16>>(first->second));
  } catch (const NotFused& reason) {
    why_not = reason.what();
    return nullptr;
  }
}

}  // namespace kvcache::plan
