// The node `kvcache::CachedAttention` as ONNX Runtime sees it. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <optional>
#include <string>

#include "base/thread_pool.hpp"
#include "ort/attention_settings.hpp"
#include "ort/attention_tensors.hpp"
#include "ort/graph_facts.hpp"
#include "ort/node_counters.hpp"
#include "ort/node_resources.hpp"
#include "ort/tensor_access.hpp"

namespace kvcache::ort {

/// The kernel of one node: checks the tensors, then runs in place or growing. The elements of keys
/// and values are Cache's, all others T's. Runs on the threads of `resources`, or, without them, on
/// ONNX Runtime's, as the nodes around it do in models that are not of float32.
template <typename T, typename Cache>
class CachedAttentionKernel {
 public:
  CachedAttentionKernel(const OrtKernelInfo* info, NodeCounters& counters,
                        const model::LayerGroups& groups, GraphFacts& facts,
                        const std::optional<NodeResources>& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void compute_in_place(Ort::KernelContext& context);
  void compute_growing(Ort::KernelContext& context);
  [[nodiscard]] AttentionHeads heads() const {
    return {settings_.num_heads, settings_.num_kv_heads};
  }
  void attend(kernels::CachedAttentionArgs<T, Cache>& args, std::int64_t tokens,
              Ort::KernelContext& context) const;

  std::string name_;
  AttentionSettings settings_;
  NodeCounters& counters_;
  const ThreadPool* threads_;
};

/// The operator's signature for element type T over a cache of Cache on the CPU.
template <typename T, typename Cache>
class CachedAttentionOp
    : public Ort::CustomOpBase<CachedAttentionOp<T, Cache>, CachedAttentionKernel<T, Cache>, true> {
 public:
  CachedAttentionOp(NodeCounters& counters, const model::LayerGroups& groups, GraphFacts& facts,
                    const std::optional<NodeResources>& resources)
      : counters_(counters), groups_(groups), facts_(facts), resources_(resources) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] {
      *kernel = new CachedAttentionKernel<T, Cache>(info, counters_, groups_, facts_, resources_);
    });
  }
  static const char* GetName() { return "CachedAttention"; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return kAttentionInputs; }
  static ONNXTensorElementDataType GetInputType(std::size_t index) {
    switch (index) {
      case kQkv:
      case kQueryNormWeight:
      case kKeyNormWeight:
        return kElementType<T>;
      case kPastKey:
      case kPastValue:
        return kElementType<Cache>;
      case kAttentionPositionIds:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
      case kCos:
      case kSin:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
      default:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    }
  }
  static OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t index) {
    return index < kAttentionPositionIds ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  }
  static std::size_t GetOutputTypeCount() { return 3; }
  static ONNXTensorElementDataType GetOutputType(std::size_t index) {
    return index == kAttention ? kElementType<T> : kElementType<Cache>;
  }

 private:
  NodeCounters& counters_;
  const model::LayerGroups& groups_;
  GraphFacts& facts_;
  std::optional<NodeResources> resources_;
};

}  // namespace kvcache::ort
