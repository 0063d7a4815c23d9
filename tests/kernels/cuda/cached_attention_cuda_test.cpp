// The CUDA kernel on the cases of the CPU's, against the same double-precision reference.
#include "kernels/cuda/cached_attention_cuda.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "base/float16.hpp"
#include "kernels/cpu/cached_attention_cpu.hpp"
#include "kernels/cuda/norm_and_turn_cuda.hpp"
#include "support/attention_cases.hpp"
#include "support/gpu.hpp"
#include "support/parallel_for.hpp"

namespace kvcache::kernels {
namespace {

using test::AttentionCase;
using test::DeviceArray;
using test::Random;
using test::WithRules;

// The device's types have the bits of ONNX Runtime's.
template <typename T>
struct DeviceType {
  using type = T;
};
template <>
struct DeviceType<Float16> {
  using type = __half;
};
template <>
struct DeviceType<BFloat16> {
  using type = __nv_bfloat16;
};

/// The case's norms and rotations of queries and keys, in place.
template <typename T, typename Cache, typename Element>
void norm_and_turn_on_device(const AttentionCase<T, Cache>& attention,
                             const CachedAttentionArgs<T, Cache>& host, std::int64_t tokens,
                             const DeviceArray<std::int64_t>& position_ids, Element* qkv) {
  std::vector<T> weights;
  std::ranges::transform(attention.norm_weights, std::back_inserter(weights),
                         [](float weight) { return T(weight); });
  const DeviceArray<T> d_weights(weights);
  const DeviceArray<float> cos(attention.cos);
  const DeviceArray<float> sin(attention.sin);
  NormAndTurnArgs<Element> args;
  args.qkv = qkv;
  args.out = qkv;
  if (!weights.empty()) {
    args.rules.query_weight = reinterpret_cast<const Element*>(d_weights.data());
    args.rules.key_weight = args.rules.query_weight + host.head_dim;
  }
  args.rules.epsilon = host.rules.norm.epsilon;
  args.rules.rotary = host.rules.rotary;
  args.rules.rotary.cos = attention.cos.empty() ? nullptr : cos.data();
  args.rules.rotary.sin = sin.data();
  args.position_ids = position_ids.data();
  args.tokens = tokens;
  args.num_heads = host.num_heads;
  args.num_kv_heads = host.num_kv_heads;
  args.head_dim = host.head_dim;
  ASSERT_EQ(norm_and_turn_cuda(args, LaunchOrder(nullptr)), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

/// Runs the case on the device, with `kernel(args, tokens)`, and brings back what it wrote.
/// `filling`: tokens behind all rows.
template <typename T, typename Cache, typename Kernel>
void run_on_device(AttentionCase<T, Cache>& attention, const Kernel& kernel,
                   std::int64_t filling = 0) {
  using Element = typename DeviceType<T>::type;
  using CacheElement = typename DeviceType<Cache>::type;
  const CachedAttentionArgs<T, Cache> host = attention.host_args();
  const auto with_filling = [&](const auto& of_rows, std::int64_t each, auto value) {
    auto all = of_rows;
    all.resize(of_rows.size() + static_cast<std::size_t>(filling * each), value);
    return all;
  };
  const T nan(std::numeric_limits<float>::quiet_NaN());
  const std::int64_t width = host.num_heads * host.head_dim;
  const std::vector<T> unwritten = with_filling(attention.attention, width, nan);
  const std::int64_t vectors = host.num_heads + 2 * host.num_kv_heads;
  DeviceArray<T> qkv(with_filling(attention.qkv, vectors * host.head_dim, nan));
  const DeviceArray<std::int64_t> position_ids(
      with_filling(attention.position_ids, 1, std::int64_t{0}));
  DeviceArray<Cache> keys(attention.key_pool);
  DeviceArray<Cache> values(attention.value_pool);
  DeviceArray<T> out(unwritten);
  const DeviceArray<std::int32_t> block_table(attention.block_table);
  const DeviceArray<std::int32_t> past_lengths(attention.past_lengths);
  const DeviceArray<std::int32_t> append_positions(attention.append_positions);
  const DeviceArray<std::int32_t> row_offsets(attention.row_offsets);
  const DeviceArray<std::int32_t> tree_parents(with_filling(attention.tree_parents, 1, -1));

  CachedAttentionArgs<Element, CacheElement> args;
  args.qkv = reinterpret_cast<const Element*>(qkv.data());
  args.key_pool = reinterpret_cast<CacheElement*>(keys.data());
  args.value_pool = reinterpret_cast<CacheElement*>(values.data());
  args.attention = reinterpret_cast<Element*>(out.data());
  args.block_table = block_table.data();
  args.past_lengths = past_lengths.data();
  args.append_positions = host.append_positions == nullptr ? nullptr : append_positions.data();
  args.row_offsets = row_offsets.data();
  args.tree_parents = host.tree_parents == nullptr ? nullptr : tree_parents.data();
  args.rows = host.rows;
  args.blocks_per_row = host.blocks_per_row;
  args.num_heads = host.num_heads;
  args.num_kv_heads = host.num_kv_heads;
  args.head_dim = host.head_dim;
  args.block_len = host.block_len;
  args.scale = host.scale;
  args.rules.window = host.rules.window;
  args.rules.soft_cap = host.rules.soft_cap;
  if (!attention.cos.empty() || !attention.norm_weights.empty()) {
    norm_and_turn_on_device(attention, host, attention.tokens + filling, position_ids,
                            reinterpret_cast<Element*>(qkv.data()));
  }

  ASSERT_EQ(kernel(args, attention.tokens + filling), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  attention.key_pool = keys.to_host();
  attention.value_pool = values.to_host();
  const std::vector<T> found = out.to_host();
  const std::size_t of_rows = attention.attention.size();
  EXPECT_EQ(0, std::memcmp(found.data() + of_rows, unwritten.data() + of_rows,
                           (found.size() - of_rows) * sizeof(T)))
      << "written for tokens of no row";
  attention.attention.assign(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(of_rows));
}

constexpr std::int64_t kTileHeadDims[] = {16, 32, 64, 80, 96, 128};
constexpr std::int64_t kSplitTileHeadDims[] = {32, 64, 96, 128};  // in float32

/// The kernel with a thread block per token, with 1, 2, 4 or 8 splits.
auto by_token(Random& random) {
  const std::int64_t splits = std::int64_t{1} << random.integer(0, 3);
  return [splits](const auto& args, std::int64_t tokens) {
    return cached_attention_by_token(args, tokens, splits, LaunchOrder(nullptr));
  };
}

/// The kernel on tensor cores; few multiprocessors make few splits.
auto by_tile(Random& random) {
  const int multiprocessors = static_cast<int>(random.integer(1, 200));
  return [multiprocessors](const auto& args, std::int64_t tokens) {
    return cached_attention_by_tile(args, tokens, multiprocessors, LaunchOrder(nullptr));
  };
}

class CachedAttentionOnCuda : public test::OnGpu {};

TEST_F(CachedAttentionOnCuda, AgreesWithDoublePrecision) {
  test::for_random_cases(100, [](Random& random) {
    AttentionCase<float> attention(random, random.chance(0.2));
    run_on_device(attention, by_token(random));
    EXPECT_LE(attention.largest_error(), 4e-6);
  });
}

TEST_F(CachedAttentionOnCuda, RulesAgreeWithDoublePrecision) {
  test::for_random_cases(200, [](Random& random) {
    AttentionCase<float> attention(random, random.chance(0.2), test::kHeadDims, WithRules::yes);
    run_on_device(attention, by_token(random));
    EXPECT_LE(attention.largest_error(), 1e-5);
  });
}

/// Tiles in float32, as near as the other kernel.
class SplitAttentionTiles : public test::OnGpu {};

TEST_F(SplitAttentionTiles, AgreeWithDoublePrecision) {
  test::for_random_cases(150, [](Random& random) {
    AttentionCase<float> attention(random, random.chance(0.6), kSplitTileHeadDims);
    run_on_device(attention, by_tile(random), random.chance(0.3) ? random.integer(1, 70) : 0);
    EXPECT_LE(attention.largest_error(), 4e-6);
  });
}

template <typename T>
void expect_rules_of_tiles(std::span<const std::int64_t> head_dims, double most) {
  test::for_random_cases(200, [&](Random& random) {
    AttentionCase<T> attention(random, random.chance(0.6), head_dims, WithRules::yes);
    if (attention.args.rules.window > 0 && !attention.tree_parents.empty()) {
      run_on_device(attention, by_token(random));
    } else {
      run_on_device(attention, by_tile(random));
    }
    EXPECT_LE(attention.largest_error(), most);
  });
}

TEST_F(SplitAttentionTiles, KeepTheRules) {
  expect_rules_of_tiles<float>(kSplitTileHeadDims, 1e-5);
}

// Queries and keys are rounded once more, after norms and turns.
TEST_F(CachedAttentionOnCuda, TilesKeepTheRules) {
  expect_rules_of_tiles<Float16>(kTileHeadDims, 16.0 * std::ldexp(1.0, -11));
}

TEST_F(CachedAttentionOnCuda, RoundsOnlyTheResultOfFloat16) {
  test::for_random_cases(50, [](Random& random) {
    AttentionCase<Float16> attention(random, random.chance(0.2));
    run_on_device(attention, by_token(random));
    EXPECT_LE(attention.largest_error(), 5.0 * std::ldexp(1.0, -11));
  });
}

TEST_F(CachedAttentionOnCuda, RoundsOnlyTheResultOfBFloat16) {
  test::for_random_cases(50, [](Random& random) {
    AttentionCase<BFloat16> attention(random, random.chance(0.2));
    run_on_device(attention, by_token(random));
    EXPECT_LE(attention.largest_error(), 5.0 * std::ldexp(1.0, -8));
  });
}

// The weights of the softmax are rounded too: an error of one unit of the last place each, of which
// many cancel.
TEST_F(CachedAttentionOnCuda, TilesRoundWeightsAndResultOfFloat16) {
  test::for_random_cases(100, [](Random& random) {
    AttentionCase<Float16> attention(random, random.chance(0.6), kTileHeadDims);
    run_on_device(attention, by_tile(random));
    EXPECT_LE(attention.largest_error(), 8.0 * std::ldexp(1.0, -11));
  });
}

TEST_F(CachedAttentionOnCuda, TilesRoundWeightsAndResultOfBFloat16) {
  test::for_random_cases(50, [](Random& random) {
    AttentionCase<BFloat16> attention(random, random.chance(0.6), kTileHeadDims);
    run_on_device(attention, by_tile(random));
    EXPECT_LE(attention.largest_error(), 8.0 * std::ldexp(1.0, -8));
  });
}

template <typename T>
void expect_same_pools(std::span<const std::int64_t> head_dims) {
  test::for_random_cases(50, [&](Random& random) {
    const bool long_rows = random.chance(0.5);
    Random same = random;
    AttentionCase<T> tiles(random, long_rows, head_dims);
    AttentionCase<T> tokens(same, long_rows, head_dims);
    run_on_device(tiles, by_tile(random));
    run_on_device(tokens, by_token(random));
    const auto same_bytes = [](const auto& a, const auto& b) {
      return std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
    };
    EXPECT_TRUE(same_bytes(tiles.key_pool, tokens.key_pool));
    EXPECT_TRUE(same_bytes(tiles.value_pool, tokens.value_pool));
  });
}

TEST_F(CachedAttentionOnCuda, TilesWriteThePoolAsTheOtherKernelDoes) {
  expect_same_pools<Float16>(kTileHeadDims);
}

TEST_F(SplitAttentionTiles, WriteThePoolAsTheOtherKernelDoes) {
  expect_same_pools<float>(kSplitTileHeadDims);
}

/// float32 over a cache of another type.
template <typename Cache>
class CachedAttentionOverNarrowCache : public test::OnGpu {
 protected:
  // Over int8, scores and weights are multiplied with scales, which rounds once more.
  static constexpr double kMore = std::is_same_v<Cache, std::int8_t> ? 2 : 1;
};
using CacheTypes = testing::Types<float, Float16, BFloat16, std::int8_t>;
TYPED_TEST_SUITE(CachedAttentionOverNarrowCache, CacheTypes);

TYPED_TEST(CachedAttentionOverNarrowCache, AgreesWithDoublePrecision) {
  test::for_random_cases(100, [](Random& random) {
    AttentionCase<float, TypeParam> attention(random, random.chance(0.2));
    run_on_device(attention, by_token(random));
    EXPECT_LE(attention.largest_error(), TestFixture::kMore * 4e-6);
  });
}

TYPED_TEST(CachedAttentionOverNarrowCache, RulesAgreeWithDoublePrecision) {
  constexpr std::int64_t kDims[] = {5, 8, 12, 31, 64, 80, 96, 128, 256};
  test::for_random_cases(100, [&](Random& random) {
    AttentionCase<float, TypeParam> attention(random, random.chance(0.2), kDims, WithRules::yes);
    run_on_device(attention, by_token(random));
    EXPECT_LE(attention.largest_error(), TestFixture::kMore * 1e-5);
  });
}

TYPED_TEST(CachedAttentionOverNarrowCache, WritesThePoolAsTheCpuDoes) {
  test::for_random_cases(50, [](Random& random) {
    Random same = random;
    AttentionCase<float, TypeParam> on_device(random);
    AttentionCase<float, TypeParam> on_cpu(same);
    run_on_device(on_device, by_token(random));
    cached_attention_cpu(on_cpu.host_args(), test::Serial());
    const auto same_bytes = [](const auto& a, const auto& b) {  // NaN is equal to itself here
      return std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
    };
    EXPECT_TRUE(same_bytes(on_device.key_pool, on_cpu.key_pool));
    EXPECT_TRUE(same_bytes(on_device.value_pool, on_cpu.value_pool));
  });
}

TEST_F(CachedAttentionOnCuda, TokensBehindAllRowsChangeNothing) {
  test::for_random_cases(50, [](Random& random) {
    AttentionCase<Float16> attention(random, random.chance(0.3), kTileHeadDims);
    const std::int64_t filling = random.integer(1, 70);
    if (random.chance(0.5)) {
      run_on_device(attention, by_token(random), filling);
    } else {
      run_on_device(attention, by_tile(random), filling);
    }
    EXPECT_LE(attention.largest_error(), 8.0 * std::ldexp(1.0, -11));
  });
}

TEST_F(CachedAttentionOnCuda, SplitsFillTheDeviceForFewTokensOnly) {
  EXPECT_EQ(attention_splits(1, 12, 132), 8);
  EXPECT_EQ(attention_splits(4, 12, 132), 4);
  EXPECT_EQ(attention_splits(64, 12, 132), 1);
}

}  // namespace
}  // namespace kvcache::kernels
