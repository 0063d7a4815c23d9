// The nodes `Embedding`, `Linear` and `Head` on CUDA. See docs/MODEL_FILE.md.
#pragma once

#include <type_traits>

#include "kernels/activation.hpp"
#include "kernels/cuda/embedding_cuda.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "ort/cuda/node_access.hpp"
#include "ort/cuda/node_norm.hpp"
#include "ort/cuda/told_node.hpp"
#include "ort/embedding_node.hpp"
#include "ort/product_node.hpp"

namespace kvcache::ort {

template <typename T>
class EmbeddingNode : ToldNode {
 public:
  static constexpr const char* kName = EmbeddingKernel::kName;
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr std::array kInputs{ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, kElement,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, kElement};
  static constexpr std::array kOutputs{kElement};
  static constexpr bool is_optional(std::size_t input) { return input > kTokenWeight; }

  EmbeddingNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  bool has_positions_;
  float scale_;
};

/// Tells what a node `Linear` or `Head` is.
void tell_product(const OrtKernelInfo* info, ProductRole role, std::int64_t outputs, float epsilon,
                  GraphFacts& facts);

/// Few tokens go through the kernels of linear_few_rows.cu and head_few_rows.cu, several through
/// those for tensor cores, and what these do not take through cuBLASLt with a kernel before and
/// behind it.
template <typename T>
class ProductNode : protected ToldNode {
 public:
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr std::array kOutputs{kElement};

 protected:
  ProductNode(ProductRole role, const OrtKernelInfo* info, const CudaNodeResources& resources);

  [[nodiscard]] static bool is_few(std::int64_t tokens, std::int64_t inputs);

  /// Whether so many tokens are worth tensor cores, whose numbers of float32 are split: from three
  /// on, on an H200.
  [[nodiscard]] static constexpr bool is_split(std::int64_t tokens) {
    return std::is_same_v<T, float> && tokens > 2;
  }

  std::shared_ptr<DeviceRoom> room_;
  NodeNorm norm_;
};

template <typename T>
class LinearNode : ProductNode<T> {
 public:
  using ProductNode<T>::kElement;
  using ProductNode<T>::kOutputs;
  static constexpr const char* kName = product_name(ProductRole::linear);
  static constexpr std::array kInputs{kElement, kElement, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
                                      kElement, kElement, kElement,
                                      kElement, kElement};
  static_assert(kInputs.size() == kPostNormWeight + 1);
  static constexpr bool is_optional(std::size_t input) { return input > kWeight; }

  LinearNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  /// Which kernel has the product: of few tokens; of several, or large matrices, on tensor cores
  /// behind the norm (16 bits, float32); or cuBLASLt's, with kernels before and behind it.
  enum class Way { few_rows, tensor_cores, library };
  [[nodiscard]] Way way_of(const kernels::LinearCudaArgs<T>& args) const;
  /// Whether instructions of warpgroups are the faster for a matrix of this many weights.
  [[nodiscard]] static bool takes_warpgroups(std::int64_t tokens, std::int64_t weights);
  /// Bytes of x after its norm, where that is a kernel of its own.
  [[nodiscard]] static std::size_t normalized_bytes(const kernels::LinearCudaArgs<T>& args,
                                                    Way way);
  /// `scratch_in_use`: bytes at the beginning of the room's scratch memory.
  void run(const kernels::LinearCudaArgs<T>& args, Way way, std::size_t scratch_in_use,
           cudaStream_t stream);
  /// x after its norm, if that is a kernel of its own, which it starts.
  const T* normalized(const kernels::LinearCudaArgs<T>& args, Way way, std::size_t scratch_in_use,
                      cudaStream_t stream);
  /// The product to scratch memory, and from there through a gate or a norm.
  void run_apart(const kernels::LinearCudaArgs<T>& args, const T* post_norm, cudaStream_t stream);

  std::int64_t outputs_;
  kernels::Activation activation_;
  bool gated_;
  bool has_bias_;
  bool has_post_norm_;
  float post_epsilon_;
};

template <typename T>
class HeadNode : ProductNode<T> {
 public:
  using ProductNode<T>::kElement;
  using ProductNode<T>::kOutputs;
  static constexpr const char* kName = product_name(ProductRole::head);
  static constexpr std::array kInputs{
      kElement, kElement, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, kElement,
      kElement, kElement, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64};
  static constexpr bool is_optional(std::size_t input) {
    return input > kWeight && input != kPositions;
  }

  HeadNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void run(const kernels::HeadCudaArgs<T>& args, cudaStream_t stream);

  float soft_cap_;
};

}  // namespace kvcache::ort
