// The CUDA kernel on the cases of the CPU's, against the same double-precision reference.
#include "ops/cuda/cached_attention_cuda.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>
#include <onnxruntime_cxx_api.h>

#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "ops/cpu/cached_attention_cpu.hpp"
#include "support/attention_cases.hpp"
#include "support/gpu.hpp"
#include "support/parallel_for.hpp"

namespace kvcache::ops {
namespace {

using test::AttentionCase;
using test::DeviceArray;
using test::Random;

// The device's types have the bits of ONNX Runtime's.
template <typename T>
struct DeviceType {
  using type = T;
};
template <>
struct DeviceType<Ort::Float16_t> {
  using type = __half;
};
template <>
struct DeviceType<Ort::BFloat16_t> {
  using type = __nv_bfloat16;
};

/// Runs the case on the device and brings back what it wrote.
template <typename T>
void run_on_device(AttentionCase<T>& attention, AttentionSplits splits) {
  using Element = typename DeviceType<T>::type;
  const CachedAttentionArgs<T> host = attention.host_args();
  DeviceArray<T> qkv(attention.qkv);
  DeviceArray<T> keys(attention.key_pool);
  DeviceArray<T> values(attention.value_pool);
  DeviceArray<T> out(attention.attention);
  const DeviceArray<std::int32_t> block_table(attention.block_table);
  const DeviceArray<std::int32_t> past_lengths(attention.past_lengths);
  const DeviceArray<std::int32_t> append_positions(attention.append_positions);
  const DeviceArray<std::int32_t> row_offsets(attention.row_offsets);
  const DeviceArray<std::int32_t> tree_parents(attention.tree_parents);

  CachedAttentionArgs<Element> args;
  args.qkv = reinterpret_cast<const Element*>(qkv.data());
  args.key_pool = reinterpret_cast<Element*>(keys.data());
  args.value_pool = reinterpret_cast<Element*>(values.data());
  args.attention = reinterpret_cast<Element*>(out.data());
  args.block_table = block_table.data();
  args.past_lengths = past_lengths.data();
  args.append_positions = host.append_positions == nullptr ? nullptr : append_positions.data();
  args.row_offsets = row_offsets.data();
  args.tree_parents = host.tree_parents == nullptr ? nullptr : tree_parents.data();
  args.rows = host.rows;
  args.blocks_per_row = host.blocks_per_row;
  args.num_heads = host.num_heads;
  args.head_dim = host.head_dim;
  args.block_len = host.block_len;
  args.scale = host.scale;

  const std::vector<std::byte> no_scratch(
      splits.scratch_bytes(attention.tokens, args.num_heads, args.head_dim));
  const DeviceArray<std::byte> scratch(no_scratch);
  ASSERT_EQ(cached_attention_cuda(args, attention.tokens, splits, scratch.data(), nullptr),
            cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  attention.key_pool = keys.to_host();
  attention.value_pool = values.to_host();
  attention.attention = out.to_host();
}

class CachedAttentionOnCuda : public test::OnGpu {};

TEST_F(CachedAttentionOnCuda, AgreesWithDoublePrecision) {
  test::for_random_cases(100, [](Random& random) {
    AttentionCase<float> attention(random, random.chance(0.2));
    run_on_device(attention, {random.integer(1, 5)});
    EXPECT_LE(attention.largest_error(), 4e-6);
  });
}

TEST_F(CachedAttentionOnCuda, RoundsOnlyTheResultOfFloat16) {
  test::for_random_cases(50, [](Random& random) {
    AttentionCase<Ort::Float16_t> attention(random, random.chance(0.2));
    run_on_device(attention, {random.integer(1, 5)});
    EXPECT_LE(attention.largest_error(), 5.0 * std::ldexp(1.0, -11));
  });
}

TEST_F(CachedAttentionOnCuda, RoundsOnlyTheResultOfBFloat16) {
  test::for_random_cases(50, [](Random& random) {
    AttentionCase<Ort::BFloat16_t> attention(random, random.chance(0.2));
    run_on_device(attention, {random.integer(1, 5)});
    EXPECT_LE(attention.largest_error(), 5.0 * std::ldexp(1.0, -8));
  });
}

TEST_F(CachedAttentionOnCuda, WritesThePoolAsTheCpuDoes) {
  test::for_random_cases(50, [](Random& random) {
    Random same = random;
    AttentionCase<float> on_device(random);
    AttentionCase<float> on_cpu(same);
    run_on_device(on_device, {1});
    cached_attention_cpu(on_cpu.host_args(), test::Serial());
    const auto same_bytes = [](std::span<const float> a, std::span<const float> b) {
      return std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;  // NaN is equal to itself here
    };
    EXPECT_TRUE(same_bytes(on_device.key_pool, on_cpu.key_pool));
    EXPECT_TRUE(same_bytes(on_device.value_pool, on_cpu.value_pool));
  });
}

TEST(AttentionSplits, FillTheDeviceForFewTokensOnly) {
  EXPECT_EQ(AttentionSplits::choose(1, 12, 1024, 132).count, 16);
  EXPECT_EQ(AttentionSplits::choose(1, 12, 64, 132).count, 1);
  EXPECT_EQ(AttentionSplits::choose(64, 12, 1024, 132).count, 1);
}

}  // namespace
}  // namespace kvcache::ops
