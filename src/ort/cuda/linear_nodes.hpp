// The nodes `TokenEmbedding`, `NormLinear`, `NormLinearGelu`, `LinearResidual` and
// `SelectNormHead` on CUDA.
#pragma once

#include "kernels/cuda/linear_cuda.hpp"
#include "ort/cuda/node_access.hpp"

namespace kvcache::ort {

template <typename T>
class TokenEmbeddingNode {
 public:
  static constexpr const char* kName = "TokenEmbedding";
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr std::array kInputs{ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, kElement, kElement};
  static constexpr std::size_t kOutputs = 1;

  TokenEmbeddingNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
};

/// Few tokens go through the kernels of linear_few_rows.cu and head_few_rows.cu, many through
/// cuBLASLt with a kernel before and behind it.
template <typename T>
class ProductNode {
 protected:
  ProductNode(const char* op, const OrtKernelInfo* info, const CudaNodeResources& resources)
      : name_(node_name(op, info)), room_(resources.room) {
    resources.facts.weights.insert(CudaType<T>::kName);
  }

  void run(kernels::LinearCudaArgs<T>& args, cudaStream_t stream);
  [[nodiscard]] static bool is_few(std::int64_t tokens, std::int64_t inputs);

  std::string name_;
  std::shared_ptr<DeviceRoom> room_;
};

template <typename T, bool kGelu>
class NormLinearNode : ProductNode<T> {
 public:
  static constexpr const char* kName = kGelu ? "NormLinearGelu" : "NormLinear";
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr std::array kInputs{kElement, kElement, kElement, kElement, kElement};
  static constexpr std::size_t kOutputs = 1;

  NormLinearNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
      : ProductNode<T>(kName, info, resources),
        epsilon_(Ort::ConstKernelInfo(info).GetAttribute<float>("epsilon")) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  float epsilon_;
};

template <typename T>
class LinearResidualNode : ProductNode<T> {
 public:
  static constexpr const char* kName = "LinearResidual";
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr std::array kInputs{kElement, kElement, kElement, kElement};
  static constexpr std::size_t kOutputs = 1;

  LinearResidualNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
      : ProductNode<T>(kName, info, resources) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);
};

template <typename T>
class SelectNormHeadNode : ProductNode<T> {
 public:
  static constexpr const char* kName = "SelectNormHead";
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr std::array kInputs{kElement, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, kElement,
                                      kElement, kElement};
  static constexpr std::size_t kOutputs = 1;

  SelectNormHeadNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
      : ProductNode<T>(kName, info, resources),
        epsilon_(Ort::ConstKernelInfo(info).GetAttribute<float>("epsilon")) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void run_head(const kernels::HeadCudaArgs<T>& args, cudaStream_t stream);

  float epsilon_;
};

}  // namespace kvcache::ort
