// What a node is when it is made: its attributes, and the inputs that never change.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <string>
#include <utility>

#include "ort/tensor_access.hpp"

namespace kvcache::ort {

/// An attribute that may be left out.
template <typename T>
T attribute_or(const OrtKernelInfo* info, const char* name, T otherwise) {
  try {
    return Ort::ConstKernelInfo(info).GetAttribute<T>(name);
  } catch (const Ort::Exception&) {
    return otherwise;
  }
}

/// The value of a text attribute, whose texts that there is a kernel for are `known`; the first is
/// what a missing one means.
/// @throws Ort::Exception for another text
template <typename Value, std::size_t kCount>
Value choice(const OrtKernelInfo* info, const std::string& node, const char* attribute,
             const std::pair<const char*, Value> (&known)[kCount]) {
  const auto text = attribute_or<std::string>(info, attribute, known[0].first);
  for (const auto& [name, value] : known) {
    if (text == name) {
      return value;
    }
  }
  fail(fmt::format("{}: there is no kernel for {} \"{}\"", node, attribute, text));
}

/// Whether an optional input is there.
inline bool has_input(const OrtKernelInfo* info, std::size_t input) {
  const Ort::ConstKernelInfo node(info);
  return input < node.GetInputCount() && !node.GetInputName(input).empty();
}

/// A constant input that is there.
struct ConstantInput {
  Ort::ConstValue value{nullptr};
  Shape shape;

  [[nodiscard]] std::size_t elements() const {
    return value.GetTensorTypeAndShapeInfo().GetElementCount();
  }
};

/// @throws Ort::Exception where it is no constant
inline ConstantInput constant_input(const OrtKernelInfo* info, std::size_t input,
                                    const std::string& node) {
  int is_constant = 0;
  ConstantInput constant{Ort::ConstKernelInfo(info).GetTensorConstantInput(input, &is_constant),
                         {}};
  if (is_constant == 0) {
    fail(fmt::format("{}: input {} must be an initializer", node, input));
  }
  constant.shape = shape_of(constant.value);
  return constant;
}

}  // namespace kvcache::ort
