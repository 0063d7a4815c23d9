// The nodes `Embedding`, `Linear` and `Head` of quantised weights on CUDA, in float32. See
// docs/MODEL_FILE.md.
#pragma once

#include <array>

#include "kernels/activation.hpp"
#include "kernels/cuda/quantized_linear_cuda.hpp"
#include "ort/cuda/node_access.hpp"
#include "ort/cuda/node_norm.hpp"
#include "ort/cuda/told_node.hpp"
#include "ort/embedding_node.hpp"
#include "ort/product_node.hpp"

namespace kvcache::ort {

class QuantizedEmbeddingNode : ToldNode {
 public:
  static constexpr const char* kName = EmbeddingKernel::kName;
  static constexpr std::array kInputs{
      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
  static constexpr std::array kOutputs{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
  static constexpr bool is_optional(std::size_t input) { return input > kTokenWeight; }

  /// @throws Ort::Exception where an attribute or a shape is not what the contract says
  QuantizedEmbeddingNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  kernels::QuantizedWeight tokens_;  // without its data, which is on the device
  bool has_positions_;
  float scale_;
};

/// What `Linear` and `Head` have in common.
class QuantizedProductNode : protected ToldNode {
 public:
  static constexpr std::array kOutputs{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};

 protected:
  QuantizedProductNode(ProductRole role, const OrtKernelInfo* info,
                       const CudaNodeResources& resources);

  /// The run's x and weights; positions, tokens, residual and out are the node's.
  [[nodiscard]] kernels::QuantizedLinearCudaArgs args(const Ort::KernelContext& context,
                                                      const Shape& x_shape) const;
  /// `bytes_before`: of scratch memory that the node has in use.
  void run(const kernels::QuantizedLinearCudaArgs& args, std::size_t bytes_before,
           cudaStream_t stream) const;
  [[nodiscard]] std::size_t scratch_bytes(const kernels::QuantizedLinearCudaArgs& args) const;

  std::shared_ptr<DeviceRoom> room_;
  NodeNorm norm_;
  kernels::QuantizedWeight weight_;  // without its data
  kernels::AccuracyLevel accuracy_;
  kernels::Activation activation_;
  bool has_bias_;
};

class QuantizedLinearNode : QuantizedProductNode {
 public:
  using QuantizedProductNode::kOutputs;
  static constexpr const char* kName = product_name(ProductRole::linear);
  static constexpr auto kInputs = [] {
    std::array<ONNXTensorElementDataType, kPostNormWeight + 1> types{};
    types.fill(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    types[kWeight] = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    types[kWeightScales] = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    return types;
  }();
  static constexpr bool is_optional(std::size_t input) { return input > kWeight; }

  QuantizedLinearNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  /// The product to scratch memory, and from there through a norm.
  void run_before_norm(kernels::QuantizedLinearCudaArgs args, const float* post_norm,
                       cudaStream_t stream) const;

  bool has_post_norm_;
  float post_epsilon_;
};

class QuantizedHeadNode : QuantizedProductNode {
 public:
  using QuantizedProductNode::kOutputs;
  static constexpr const char* kName = product_name(ProductRole::head);
  static constexpr auto kInputs = [] {
    std::array<ONNXTensorElementDataType, kProductInputs> types{};
    types.fill(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    types[kWeight] = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    types[kWeightScales] = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    types[kPositions] = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    return types;
  }();
  static constexpr bool is_optional(std::size_t input) {
    return input > kWeight && input != kPositions;
  }

  QuantizedHeadNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  float soft_cap_;
};

}  // namespace kvcache::ort
