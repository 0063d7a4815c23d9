// Tensors and errors of the CUDA nodes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <array>
#include <memory>
#include <string>

#include "model/layer_groups.hpp"
#include "ort/cuda/device_room.hpp"
#include "ort/graph_facts.hpp"
#include "ort/node_counters.hpp"
#include "ort/node_info.hpp"
#include "ort/tensor_access.hpp"
#include "plan/cuda/cuda_weights.hpp"

namespace kvcache::ort {

/// The device's types have the bits of ONNX Runtime's.
template <typename T>
struct CudaType;
template <>
struct CudaType<float> {
  static constexpr auto kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  static constexpr const char* kName = "float32";  // as config.json has it
  static constexpr auto kProduct = CUDA_R_32F;
};
template <>
struct CudaType<__half> {
  static constexpr auto kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  static constexpr const char* kName = "float16";  // as config.json has it
  static constexpr auto kProduct = CUDA_R_16F;
};
template <>
struct CudaType<__nv_bfloat16> {
  static constexpr auto kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
  static constexpr const char* kName = "bfloat16";  // as config.json has it
  static constexpr auto kProduct = CUDA_R_16BF;
};
template <>
struct CudaType<std::int8_t> {  // of keys and values only
  static constexpr auto kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
};

inline void check_launch(cudaError_t error, const std::string& node) {
  if (error != cudaSuccess) {
    fail(fmt::format("{}: CUDA failed: {} ({})", node, cudaGetErrorString(error),
                     cudaGetErrorName(error)));
  }
}

inline cudaStream_t stream_of(const Ort::KernelContext& context) {
  return static_cast<cudaStream_t>(context.GetGPUComputeStream());
}

inline constexpr std::size_t kAlignment = 256;  // of buffers within scratch memory

/// A vector that the node may have.
template <typename T>
const T* vector_of(const Ort::KernelContext& context, bool exists, std::size_t input,
                   std::int64_t size, const std::string& node) {
  if (!exists) {
    return nullptr;
  }
  const auto vector = context.GetInput(input);
  if (shape_of(vector) != Shape{size}) {
    fail(fmt::format("{}: input {} must be [{}]", node, input, size));
  }
  return raw_data<T>(vector);
}

/// What the kernels of all nodes are made with.
struct CudaNodeResources {
  std::shared_ptr<DeviceRoom> room;
  NodeCounters& counters;
  const model::LayerGroups& groups;
  GraphFacts& facts;
  plan::CudaWeights& weights;  // filled by the nodes when they first run
};

/// The signature of a node: `Kernel` names it and the types of its inputs and outputs.
template <typename Kernel>
class CudaNode : public Ort::CustomOpBase<CudaNode<Kernel>, Kernel, true> {
 public:
  explicit CudaNode(const CudaNodeResources& resources) : resources_(resources) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] { *kernel = new Kernel(info, resources_); });
  }
  static const char* GetName() { return Kernel::kName; }
  static const char* GetExecutionProviderType() { return "CUDAExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return Kernel::kInputs.size(); }
  static ONNXTensorElementDataType GetInputType(std::size_t index) {
    return Kernel::kInputs[index];
  }
  static OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t index) {
    return Kernel::is_optional(index) ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
  }
  static std::size_t GetOutputTypeCount() { return Kernel::kOutputs.size(); }
  static ONNXTensorElementDataType GetOutputType(std::size_t index) {
    return Kernel::kOutputs[index];
  }

 private:
  CudaNodeResources resources_;
};

}  // namespace kvcache::ort
