// Typed access to the tensors of a kernel call, and errors in ONNX Runtime's terms.
#pragma once

#include <fmt/format.h>
#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "base/float16.hpp"

namespace kvcache::ort {

using Shape = std::vector<std::int64_t>;

/// An error that ONNX Runtime reports as the reason why Run failed.
[[noreturn]] inline void fail(std::string message) {
  throw Ort::Exception(std::move(message), ORT_INVALID_ARGUMENT);
}

inline void check(bool holds, const std::string& node, const char* rule) {
  if (!holds) {
    fail(fmt::format("{}: {}", node, rule));
  }
}

/// Runs `work` and turns an exception into a status: none may cross ONNX Runtime's C interface.
template <typename Work>
OrtStatusPtr status_of(const Work& work) {
  try {
    work();
    return nullptr;
  } catch (const Ort::Exception& error) {
    return Ort::Status(error.what(), error.GetOrtErrorCode()).release();
  } catch (const std::exception& error) {
    return Ort::Status(error.what(), ORT_RUNTIME_EXCEPTION).release();
  }
}

/// ONNX's name of T, which is a number or one of base/float16.hpp.
template <typename T>
constexpr ONNXTensorElementDataType kElementType = Ort::TypeToTensorType<T>::type;
template <>
inline constexpr ONNXTensorElementDataType kElementType<Float16> =
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
template <>
inline constexpr ONNXTensorElementDataType kElementType<BFloat16> =
    ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;

/// How error messages call a node: its operator and its name in the graph.
inline std::string node_name(const char* op, const OrtKernelInfo* info) {
  return fmt::format("{} {}", op, Ort::ConstKernelInfo(info).GetNodeName());
}

inline Shape shape_of(const Ort::ConstValue& tensor) {
  return tensor.GetTensorTypeAndShapeInfo().GetShape();
}

/// The data of an optional input, null when it was left empty.
template <typename T>
const T* optional_data(const Ort::ConstValue& tensor) {
  return tensor.GetTensorTypeAndShapeInfo().GetElementCount() == 0 ? nullptr
                                                                   : tensor.GetTensorData<T>();
}

/// The data of a tensor as T, which has the bits of the tensor's type.
template <typename T>
const T* raw_data(const Ort::ConstValue& tensor) {
  return static_cast<const T*>(tensor.GetTensorRawData());
}

/// A tensor of the outputs, of this shape.
template <typename T>
T* raw_output(Ort::KernelContext& context, std::size_t index, const Shape& shape) {
  return static_cast<T*>(
      context.GetOutput(index, shape.data(), shape.size()).GetTensorMutableRawData());
}

}  // namespace kvcache::ort
