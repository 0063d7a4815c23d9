// Products of many rows with weights: cuBLASLt's.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>

namespace kvcache::kernels {

/// What is done with a product x: residual + activation(x + bias).
struct Epilogue {
  const void* bias = nullptr;      // [outputs], or null
  const void* residual = nullptr;  // like the product, or null
  bool gelu = false;
};

/// Matrix products on the device, [rows, inputs] times a weight, with float32 sums.
///
/// cuBLASLt is loaded when first needed: a program built with CUDA must start without it. It comes
/// with ONNX Runtime's CUDA provider, which needs it too. Plans are kept per shape. Used by one
/// thread at a time.
class MatrixProduct {
 public:
  MatrixProduct();
  MatrixProduct(const MatrixProduct&) = delete;
  MatrixProduct& operator=(const MatrixProduct&) = delete;
  ~MatrixProduct();

  /// out = end(x · weight), the weight packed in panels [ceil(outputs / 64), inputs, 64]. Returns
  /// false where cuBLASLt cannot do the end too; out is then x · weight.
  /// @throws std::runtime_error naming the call of cuBLASLt that failed and its status
  bool with_panels(cudaDataType type, const void* x, const void* weight, const Epilogue& end,
                   void* out, std::int64_t rows, std::int64_t inputs, std::int64_t outputs,
                   cudaStream_t stream);

  /// out = x · weightᵀ, the weight [outputs, inputs].
  /// @throws std::runtime_error
  void with_rows(cudaDataType type, const void* x, const void* weight, void* out, std::int64_t rows,
                 std::int64_t inputs, std::int64_t outputs, cudaStream_t stream);

 private:
  struct Library;
  struct Plan;
  enum class Kind { rows, plain_panels, panels, panels_with_residual, panels_with_gelu };
  using Key = std::tuple<Kind, cudaDataType, std::int64_t, std::int64_t, std::int64_t>;

  Plan& plan(Kind kind, cudaDataType type, std::int64_t rows, std::int64_t inputs,
             std::int64_t outputs);
  /// `adds`: the end's residual.
  void run(const Plan& plan, const void* x, const void* weight, const Epilogue& end, bool adds,
           void* out, cudaStream_t stream);

  std::unique_ptr<Library> library_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
  void* workspace_ = nullptr;
};

}  // namespace kvcache::kernels
