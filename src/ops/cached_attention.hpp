// The node `kvcache::CachedAttention` as ONNX Runtime sees it. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/node_counters.hpp"
#include "ops/tensor_access.hpp"

namespace kvcache::ops {

/// The kernel of one node: checks the tensors, then runs in place or growing.
template <typename T>
class CachedAttentionKernel {
 public:
  CachedAttentionKernel(const OrtKernelInfo* info, NodeCounters& counters);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void compute_in_place(Ort::KernelContext& context);
  void compute_growing(Ort::KernelContext& context);

  std::string name_;
  std::int64_t num_heads_;
  float scale_;
  NodeCounters& counters_;
};

/// The operator's signature for element type T on the CPU.
template <typename T>
class CachedAttentionOp
    : public Ort::CustomOpBase<CachedAttentionOp<T>, CachedAttentionKernel<T>, true> {
 public:
  explicit CachedAttentionOp(NodeCounters& counters) : counters_(counters) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] { *kernel = new CachedAttentionKernel<T>(info, counters_); });
  }
  static const char* GetName() { return "CachedAttention"; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return 8; }
  static ONNXTensorElementDataType GetInputType(std::size_t index) {
    return index < 3 ? Ort::TypeToTensorType<T>::type : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
  }
  static std::size_t GetOutputTypeCount() { return 3; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) {
    return Ort::TypeToTensorType<T>::type;
  }

 private:
  NodeCounters& counters_;
};

}  // namespace kvcache::ops
