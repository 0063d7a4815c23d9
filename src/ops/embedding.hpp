// The node `kvcache::Embedding`: rows of a table. See docs/MODEL_FILE.md.
//
// It does what ONNX's Gather does, but reads the very copy of the weight that a tied head uses, so
// that the table is in memory once.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/weight_op.hpp"

namespace kvcache::ops {

/// weight[ids]: [batch, seq_len] and [count, size] to [batch, seq_len, size].
template <typename W>
class EmbeddingKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = "Embedding";
  static constexpr std::size_t kInputs = 2;  // ids, weight
  static constexpr std::size_t kWeightInput = 1;
  static constexpr auto kFirstInputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  static constexpr auto kOutputType = Ort::TypeToTensorType<W>::type;

  EmbeddingKernel(const OrtKernelInfo* info, WeightStore& weights)
      : name_(node_name(kName, info)), weight_(kept_weight<W>(info, weights, kWeightInput)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  const W* weight_;
};

}  // namespace kvcache::ops
