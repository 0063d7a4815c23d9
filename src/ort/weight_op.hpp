// What nodes with weights have in common.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <memory>
#include <type_traits>

#include "base/thread_team.hpp"
#include "ort/graph_facts.hpp"
#include "ort/tensor_access.hpp"
#include "weights/weight_store.hpp"

namespace kvcache::ort {

/// The store's copy of a node's weight, input `index`; null when that is no constant.
template <typename W>
const W* kept_weight(const OrtKernelInfo* info, weights::WeightStore& weights, std::size_t index) {
  int is_constant = 0;
  const Ort::ConstValue weight =
      Ort::ConstKernelInfo(info).GetTensorConstantInput(index, &is_constant);
  if (is_constant == 0) {
    return nullptr;
  }
  return static_cast<const W*>(weights.keep(
      weight.GetTensorRawData(), weight.GetTensorTypeAndShapeInfo().GetElementCount() * sizeof(W)));
}

/// The name of a matrix's type, in config.json's terms.
template <typename W>
constexpr const char* weight_type_name() {
  return std::is_same_v<W, float> ? "float32" : std::is_same_v<W, Float16> ? "float16" : "bfloat16";
}

/// Tells the store of a constant input, of 4 bytes an element, that is read where it lies.
inline void read_in_place(const OrtKernelInfo* info, weights::WeightStore& weights,
                          std::size_t index) {
  int is_constant = 0;
  const Ort::ConstValue input =
      Ort::ConstKernelInfo(info).GetTensorConstantInput(index, &is_constant);
  if (is_constant != 0) {
    weights.read_in_place(input.GetTensorRawData(),
                          input.GetTensorTypeAndShapeInfo().GetElementCount() * sizeof(float));
  }
}

/// The signature of a node on the CPU whose input kWeightInput is a weight of Kernel::Weight, with
/// one output; Kernel::tell() says what it saw of the model, Kernel::takes_ids which inputs are
/// int64; the last input of a node with a quantised weight are its scales, of float16; all others
/// and the output are float32.
template <typename Kernel>
class WeightOp : public Ort::CustomOpBase<WeightOp<Kernel>, Kernel, true> {
 public:
  WeightOp(weights::WeightStore& weights, const ThreadTeam& threads, GraphFacts& facts)
      : weights_(weights), threads_(threads), facts_(facts) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] {
      auto made = std::make_unique<Kernel>(info, weights_, threads_);
      made->tell(info, facts_);
      for (std::size_t i = 0; i < Kernel::kInputs; ++i) {
        if (!is_kept(i) && !Kernel::takes_ids(i)) {
          read_in_place(info, weights_, i);
        }
      }
      *kernel = made.release();
    });
  }
  static const char* GetName() { return Kernel::kName; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return Kernel::kInputs; }
  static ONNXTensorElementDataType GetInputType(std::size_t index) {
    return Kernel::takes_ids(index)        ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
           : index == Kernel::kWeightInput ? element_type_of<typename Kernel::Weight>
           : is_kept(index)                ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                                           : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

 private:
  static constexpr bool kIsQuantized = std::is_same_v<typename Kernel::Weight, std::uint8_t>;
  /// The weight, and the scales of a quantised one.
  static constexpr bool is_kept(std::size_t index) {
    return index == Kernel::kWeightInput || (kIsQuantized && index + 1 == Kernel::kInputs);
  }

  weights::WeightStore& weights_;
  const ThreadTeam& threads_;
  GraphFacts& facts_;
};

}  // namespace kvcache::ort
