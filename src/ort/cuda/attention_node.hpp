// The node `CachedAttention` on CUDA.
#pragma once

#include "kernels/cached_attention_args.hpp"
#include "kernels/cuda/launch_order.hpp"
#include "kernels/cuda/norm_and_turn_cuda.hpp"
#include "ort/attention_settings.hpp"
#include "ort/attention_tensors.hpp"
#include "ort/cuda/told_node.hpp"

namespace kvcache::ort {

/// Checks shapes; what the tables say is on the device, and its writer's business. The elements of
/// keys and values are Cache's, all others T's.
template <typename T, typename Cache = T>
class CachedAttentionNode : ToldNode {
 public:
  static constexpr const char* kName = "CachedAttention";
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr auto kCacheElement = CudaType<Cache>::kElement;
  static constexpr std::array kInputs{kElement,
                                      kCacheElement,
                                      kCacheElement,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                      kElement,
                                      kElement};
  static_assert(kInputs.size() == kAttentionInputs);
  static constexpr std::array kOutputs{kElement, kCacheElement, kCacheElement};
  static constexpr bool is_optional(std::size_t input) { return input >= kAttentionPositionIds; }

  CachedAttentionNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void compute_in_place(Ort::KernelContext& context);
  void compute_growing(Ort::KernelContext& context);
  [[nodiscard]] AttentionHeads heads() const {
    return {settings_.num_heads, settings_.num_kv_heads};
  }
  /// Bytes that queries, keys and values of these tokens take once more, 0 where the layer neither
  /// norms nor turns them.
  [[nodiscard]] std::size_t prepared_bytes(const AttentionSizes& sizes) const;
  /// The layer's rules with the tables and weights of this run.
  [[nodiscard]] kernels::AttentionRulesCuda<T> rules(const Ort::KernelContext& context,
                                                     std::int64_t head_dim) const;
  /// Norms and turns what is new, into `prepared`, where the layer does so.
  void prepare(const Ort::KernelContext& context, std::int64_t tokens, T* prepared,
               kernels::CachedAttentionArgs<T, Cache>& args, kernels::LaunchOrder order) const;
  void attend(const kernels::CachedAttentionArgs<T, Cache>& args, std::int64_t tokens,
              kernels::LaunchOrder order) const;

  AttentionSettings settings_;  // without the tables and weights, which are on the device
  CudaNodeResources resources_;
};

}  // namespace kvcache::ort
