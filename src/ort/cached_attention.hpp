// The node `kvcache::CachedAttention` as ONNX Runtime sees it. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "base/thread_pool.hpp"
#include "ort/attention_tensors.hpp"
#include "ort/graph_facts.hpp"
#include "ort/node_counters.hpp"
#include "ort/tensor_access.hpp"

namespace kvcache::ort {

/// The kernel of one node: checks the tensors, then runs in place or growing. The elements of keys
/// and values are Cache's, all others T's. Runs on `threads`, or, null, on ONNX Runtime's, as the
/// nodes around it do in models that are not of float32.
template <typename T, typename Cache>
class CachedAttentionKernel {
 public:
  CachedAttentionKernel(const OrtKernelInfo* info, NodeCounters& counters, GraphFacts& facts,
                        const ThreadPool* threads);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void compute_in_place(Ort::KernelContext& context);
  void compute_growing(Ort::KernelContext& context);
  void attend(const kernels::CachedAttentionArgs<T, Cache>& args,
              Ort::KernelContext& context) const;

  std::string name_;
  std::int64_t num_heads_;
  float scale_;
  NodeCounters& counters_;
  const ThreadPool* threads_;
};

/// The operator's signature for element type T over a cache of Cache on the CPU.
template <typename T, typename Cache>
class CachedAttentionOp
    : public Ort::CustomOpBase<CachedAttentionOp<T, Cache>, CachedAttentionKernel<T, Cache>, true> {
 public:
  CachedAttentionOp(NodeCounters& counters, GraphFacts& facts, const ThreadPool* threads)
      : counters_(counters), facts_(facts), threads_(threads) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of(
        [&] { *kernel = new CachedAttentionKernel<T, Cache>(info, counters_, facts_, threads_); });
  }
  static const char* GetName() { return "CachedAttention"; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return 8; }
  static ONNXTensorElementDataType GetInputType(std::size_t index) {
    if (index == kPastKey || index == kPastValue) {
      return kElementType<Cache>;
    }
    return index == kQkv ? kElementType<T> : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
  }
  static std::size_t GetOutputTypeCount() { return 3; }
  static ONNXTensorElementDataType GetOutputType(std::size_t index) {
    return index == kAttention ? kElementType<T> : kElementType<Cache>;
  }

 private:
  NodeCounters& counters_;
  GraphFacts& facts_;
  const ThreadPool* threads_;
};

}  // namespace kvcache::ort
