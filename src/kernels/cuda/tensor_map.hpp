// How the copy engine of sm_90 is told of a matrix in device memory, tiles of which it brings to
// shared memory.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace kvcache::kernels {

/// Elements of 16 bits, [sizes[1], sizes[0], 64], `strides` of the first two axes in the same order
/// and in elements, multiples of 8; the last is dense. Copies bring tile[1] times tile[0] times 64
/// of them. The 16-byte pieces of a row of 128 bytes in shared memory lie in the order that the
/// tensor cores read without bank conflicts (PTX ISA, "128B swizzle"); what is beyond the sizes is
/// zero.
struct TensorShape {
  CUtensorMapDataType type;
  std::int64_t sizes[2];
  std::int64_t strides[2];
  unsigned tile[2];
};

/// `data` is on 16 bytes.
cudaError_t make_tensor_map(const void* data, const TensorShape& shape, CUtensorMap& map);

}  // namespace kvcache::kernels
