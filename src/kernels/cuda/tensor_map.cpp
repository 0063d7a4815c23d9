#include "kernels/cuda/tensor_map.hpp"

namespace kvcache::kernels {
namespace {

/// The driver's function, found without linking the driver's library.
auto encoder() {
  static const auto found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
    constexpr unsigned kSince = 12000;
    const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                                kSince, cudaEnableDefault, &result);
#else
    const cudaError_t status =
        cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &result);
#endif
    const bool has = status == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return has ? reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function) : nullptr;
  }();
  return found;
}

}  // namespace

cudaError_t make_tensor_map(const void* data, const TensorShape& shape, CUtensorMap& map) {
  const auto encode = encoder();
  if (encode == nullptr) {
    return cudaErrorNotSupported;
  }
  constexpr unsigned kColumns = 64;
  const auto wide = [](std::int64_t size) { return static_cast<cuuint64_t>(size); };
  const cuuint64_t sizes[3] = {kColumns, wide(shape.sizes[0]), wide(shape.sizes[1])};
  const cuuint64_t strides[2] = {wide(shape.strides[0] * 2), wide(shape.strides[1] * 2)};
  const cuuint32_t tile[3] = {kColumns, shape.tile[0], shape.tile[1]};
  const cuuint32_t steps[3] = {1, 1, 1};
  const CUresult status =
      encode(&map, shape.type, 3, const_cast<void*>(data), sizes, strides, tile, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace kvcache::kernels
