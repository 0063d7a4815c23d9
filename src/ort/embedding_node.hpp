// The node `Embedding` on the CPU: where a run begins. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ort/node_resources.hpp"

namespace kvcache::ort {

enum EmbeddingInput : std::size_t {
  kInputIds,
  kPositionIds,
  kTokenWeight,
  kTokenScales,
  kPositionWeight,
  kEmbeddingInputs
};

/// input_ids and position_ids [batch, seq_len] to [batch, seq_len, size]. Reads the very copy of
/// the weight that a tied head uses, so that it is in memory once.
class EmbeddingKernel {
 public:
  static constexpr const char* kName = "Embedding";

  /// @throws Ort::Exception where an attribute or a weight is not what the contract says
  template <typename W>
  EmbeddingKernel(const OrtKernelInfo* info, W /*weight*/, const NodeResources& resources)
      : EmbeddingKernel(info, resources,
                        node_matrix<W>(info, node_name(kName, info), kInputs, resources)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  static constexpr WeightInputs kInputs{kTokenWeight, kTokenScales, kernels::WeightOrder::rows};

  EmbeddingKernel(const OrtKernelInfo* info, const NodeResources& resources,
                  const NodeMatrix& tokens);

  std::string name_;
  kernels::Embedding embedding_;
  const ThreadPool& threads_;
};

/// The operator's signature for a table of W.
template <typename W>
class EmbeddingOp : public Ort::CustomOpBase<EmbeddingOp<W>, EmbeddingKernel, true> {
 public:
  explicit EmbeddingOp(const NodeResources& resources) : resources_(resources) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] { *kernel = new EmbeddingKernel(info, W{}, resources_); });
  }
  static const char* GetName() { return EmbeddingKernel::kName; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return kEmbeddingInputs; }
  static ONNXTensorElementDataType GetInputType(std::size_t input) {
    switch (input) {
      case kInputIds:
      case kPositionIds:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
      case kTokenWeight:
        return kElementType<W>;
      case kTokenScales:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
      default:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
  }
  static OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t input) {
    return input <= kTokenWeight ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*output*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

 private:
  NodeResources resources_;
};

}  // namespace kvcache::ort
