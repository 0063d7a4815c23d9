// The nodes `Linear` and `Head` on the CPU: the products of a model, whatever their weights. See
// docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>
#include <utility>

#include "kernels/activation.hpp"
#include "ort/node_resources.hpp"

namespace kvcache::ort {

enum class ProductRole { linear, head };

enum ProductInput : std::size_t {
  kX,
  kWeight,
  kWeightScales,
  kBias,
  kNormWeight,
  kNormBias,
  kResidual,               // of a Linear
  kPositions = kResidual,  // of a Head: the tokens whose logits are asked for, all where empty
  kProductInputs,
  kPostNormWeight = kProductInputs,  // of a Linear
};

constexpr const char* product_name(ProductRole role) {
  return role == ProductRole::linear ? "Linear" : "Head";
}

/// Whether a product's weight holds a gate's panels beside its own.
inline bool is_gated(const OrtKernelInfo* info) {
  return attribute_or<std::int64_t>(info, "gated", 0) != 0;
}

/// What a product's attribute "activation" names; "" where it is not there.
inline constexpr std::pair<const char*, kernels::Activation> kActivations[]{
    {"", kernels::Activation::none},
    {"gelu_tanh", kernels::Activation::gelu_tanh},
    {"gelu_erf", kernels::Activation::gelu_erf},
    {"silu", kernels::Activation::silu}};

/// x [batch, seq_len, inputs] to [batch, seq_len or num_logits, outputs].
class ProductKernel {
 public:
  /// @throws Ort::Exception where an attribute or a weight is not what the contract says
  template <typename W>
  ProductKernel(const OrtKernelInfo* info, ProductRole role, W /*weight*/,
                const NodeResources& resources)
      : ProductKernel(info, role, resources,
                      node_matrix<W>(info, node_name(product_name(role), info),
                                     inputs_of(role, info), resources)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  ProductKernel(const OrtKernelInfo* info, ProductRole role, const NodeResources& resources,
                const NodeMatrix& weight);
  static WeightInputs inputs_of(ProductRole role, const OrtKernelInfo* info) {
    return {kWeight, kWeightScales,
            role == ProductRole::head ? kernels::WeightOrder::rows : kernels::WeightOrder::panels,
            is_gated(info) ? 2 : 1};
  }

  std::string name_;
  ProductRole role_;
  kernels::Product product_;
  const ThreadPool& threads_;
};

/// The operator's signature for weights of W.
template <ProductRole kRole, typename W>
class ProductOp : public Ort::CustomOpBase<ProductOp<kRole, W>, ProductKernel, true> {
 public:
  explicit ProductOp(const NodeResources& resources) : resources_(resources) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] { *kernel = new ProductKernel(info, kRole, W{}, resources_); });
  }
  static const char* GetName() { return product_name(kRole); }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() {
    return kRole == ProductRole::linear ? kPostNormWeight + 1 : kProductInputs;
  }
  static ONNXTensorElementDataType GetInputType(std::size_t input) {
    switch (input) {
      case kWeight:
        return kElementType<W>;
      case kWeightScales:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
      case kPositions:
        return kRole == ProductRole::head ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
                                          : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
      default:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
  }
  static OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t input) {
    return input <= kWeight || (kRole == ProductRole::head && input == kPositions)
               ? INPUT_OUTPUT_REQUIRED
               : INPUT_OUTPUT_OPTIONAL;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*output*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

 private:
  NodeResources resources_;
};

}  // namespace kvcache::ort
