// The node `CachedAttention` on CUDA.
#pragma once

#include "kernels/cached_attention_args.hpp"
#include "kernels/cuda/launch_order.hpp"
#include "ort/cuda/node_access.hpp"

namespace kvcache::ort {

/// Checks shapes; what the tables say is on the device, and its writer's business.
template <typename T>
class CachedAttentionNode {
 public:
  static constexpr const char* kName = "CachedAttention";
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr std::array kInputs{kElement,
                                      kElement,
                                      kElement,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32};
  static constexpr std::size_t kOutputs = 3;
  static constexpr bool is_optional(std::size_t /*input*/) { return false; }

  CachedAttentionNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void compute_in_place(Ort::KernelContext& context);
  void compute_growing(Ort::KernelContext& context);
  void attend(const kernels::CachedAttentionArgs<T>& args, std::int64_t tokens,
              kernels::LaunchOrder order);

  std::string name_;
  std::int64_t num_heads_;
  float scale_;
  CudaNodeResources resources_;
};

}  // namespace kvcache::ort
