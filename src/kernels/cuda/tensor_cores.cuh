// The tensor cores' matrix instructions for 16-bit types and for bytes.
#pragma once

#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

/// Elements of the matrix instruction m16n8k16 held by a lane: lane = 4·g + t holds rows g and
/// g + 8, columns 2t and 2t + 1 (and 8 further) of a matrix. PTX ISA, "Matrix Fragments for
/// mma.m16n8k16".
template <typename T>
__device__ void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);
template <>
__device__ inline void multiply_add<__half>(float (&sum)[4], const unsigned (&a)[4], unsigned b0,
                                            unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ inline void multiply_add<__nv_bfloat16>(float (&sum)[4], const unsigned (&a)[4],
                                                   unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// sum = a · b + sum: a of 16 outputs by 32 inputs, values without a sign, b of 32 inputs by 8
/// columns. PTX ISA, "Matrix Fragments for mma.m16n8k32": lane 4·g + t has rows g and g + 8, inputs
/// 4t to 4t + 3 and 16 further, and of the sum columns 2t and 2t + 1.
__device__ inline void multiply_add_bytes(int (&sum)[4], const unsigned (&a)[4], uint2 b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

/// Four 8×8 matrices of shared memory, each transposed on its way; lane l gives the address of row
/// l % 8 of matrix l / 8.
template <typename T>
__device__ void load_transposed(const T* row, unsigned (&matrices)[4]) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(address));
}

/// Four 8×8 matrices of shared memory; lane l gives the address of row l % 8 of matrix l / 8.
template <typename T>
__device__ void load_matrices(const T* row, unsigned (&matrices)[4]) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(address));
}

}  // namespace kvcache::kernels
