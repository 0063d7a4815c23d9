// The attention kernel against double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "base/float16.hpp"
#include "kernels/cpu/cached_attention_cpu.hpp"
#include "support/attention_cases.hpp"
#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"

namespace kvcache::kernels {
namespace {

using test::AttentionCase;
using test::Random;

template <typename T, typename Cache>
void run(AttentionCase<T, Cache>& attention, const ParallelFor& parallel_for) {
  cached_attention_cpu(attention.host_args(), parallel_for);
}

class CachedAttention : public test::OnInstructionSet {};

TEST_P(CachedAttention, AgreesWithDoublePrecisionOnShortRows) {
  test::for_random_cases(150, [](Random& random) {
    AttentionCase<float> attention(random);
    run(attention, test::Serial());
    EXPECT_LE(attention.largest_error(), 2e-6);
  });
}

TEST_P(CachedAttention, AgreesWithDoublePrecisionOnLongRows) {
  test::for_random_cases(8, [](Random& random) {
    AttentionCase<float> attention(random, true);
    run(attention, test::Serial());
    EXPECT_LE(attention.largest_error(), 2e-6);
  });
}

/// New keys are in the cache normed and turned, within `rounding` of their magnitude.
template <typename T, typename Cache>
void expect_turned_keys(const AttentionCase<T, Cache>& of, double rounding) {
  for (std::int64_t row = 0; row < of.args.rows; ++row) {
    for (std::int64_t token = of.row_offsets[row]; token < of.row_offsets[row + 1]; ++token) {
      const std::int64_t position = of.append_positions[row] + token - of.row_offsets[row];
      for (std::int64_t head = 0; head < of.args.num_kv_heads; ++head) {
        const Cache* key = &of.key_pool[of.pool_index(row, position, head)];
        const std::vector<double> expected =
            of.turned(&of.qkv[of.qkv_index(token, of.args.num_heads + head)], token, true);
        for (std::int64_t i = 0; i < of.args.head_dim; ++i) {
          EXPECT_NEAR(test::cached_element(key, of.args.head_dim, i),
                      expected[static_cast<std::size_t>(i)], rounding);
        }
      }
    }
  }
}

/// Grouped heads, rotary positions, norms, windows and soft caps: the keys that are kept, and what
/// comes of them. A query is rounded by its norm and turn, too.
template <typename T, typename Cache>
void expect_rules(int cases, bool long_rows, double key_rounding, double limit) {
  test::for_random_cases(cases, [&](Random& random) {
    AttentionCase<T, Cache> attention(random, long_rows, test::kHeadDims, test::WithRules::yes);
    run(attention, test::ThreeThreads());
    expect_turned_keys(attention, key_rounding);
    EXPECT_LE(attention.largest_error(), limit);
  });
}

TEST_P(CachedAttention, GroupsTurnsNormsAndBoundsAsDoublePrecisionDoes) {
  expect_rules<float, float>(200, false, 2e-6, 6e-6);
  expect_rules<float, float>(12, true, 2e-6, 6e-6);
}

TEST_P(CachedAttention, GroupsTurnsNormsAndBoundsOverNarrowCaches) {
  expect_rules<float, Float16>(40, false, 8 * std::ldexp(1.0, -11), 6e-6);
  expect_rules<float, BFloat16>(40, false, 8 * std::ldexp(1.0, -8), 6e-6);
  expect_rules<float, std::int8_t>(40, false, 8.0 / 127, 1e-5);
}

TEST_P(CachedAttention, GroupsTurnsNormsAndBoundsIn16Bits) {
  expect_rules<Float16, Float16>(30, false, 8 * std::ldexp(1.0, -11), 5 * std::ldexp(1.0, -11));
  expect_rules<BFloat16, BFloat16>(30, false, 8 * std::ldexp(1.0, -8), 5 * std::ldexp(1.0, -8));
}

/// Each query has the bits that it has alone: as the last token of a row of its own.
TEST_P(CachedAttention, GivesGroupedQueriesTheBitsThatTheyHaveAlone) {
  test::for_random_cases(40, [](Random& random) {
    AttentionCase<float> together(random, random.chance(0.2), test::kHeadDims,
                                  test::WithRules::yes);
    if (!together.tree_parents.empty()) {
      return;
    }
    run(together, test::Serial());
    const std::vector<float> attention = together.attention;
    const std::vector<float> keys = together.key_pool;
    // Again token by token over what is kept: the first, then the first two, ….
    const std::int64_t row_floats = together.width();
    for (std::int64_t row = 0; row < together.args.rows; ++row) {
      const std::int64_t begin = together.row_offsets[row];
      const std::int64_t size = together.row_offsets[row + 1] - begin;
      if (together.append_positions[row] != together.past_lengths[row]) {
        continue;  // a chain beside its past, as trees are
      }
      for (std::int64_t token = 0; token < size; ++token) {
        CachedAttentionArgs<float> one = together.host_args();
        const auto past = static_cast<std::int32_t>(together.past_lengths[row] + token);
        one.qkv += together.qkv_index(begin + token, 0);
        one.position_ids += begin + token;
        one.block_table += row * one.blocks_per_row;
        one.past_lengths = &past;
        one.append_positions = nullptr;
        one.row_offsets = nullptr;
        one.rows = 1;
        one.tokens_per_row = 1;
        std::vector<float> alone(static_cast<std::size_t>(row_floats));
        one.attention = alone.data();
        cached_attention_cpu(one, test::Serial());
        EXPECT_EQ(std::memcmp(alone.data(), &attention[(begin + token) * row_floats],
                              alone.size() * sizeof(float)),
                  0)
            << "token " << token << " of " << size << ", group " << one.group();
      }
    }
    EXPECT_EQ(std::memcmp(keys.data(), together.key_pool.data(), keys.size() * sizeof(float)), 0);
  });
}

TEST_P(CachedAttention, RoundsOnlyTheResultOfFloat16) {
  test::for_random_cases(40, [](Random& random) {
    AttentionCase<Float16> attention(random);
    run(attention, test::Serial());
    EXPECT_LE(attention.largest_error(), 5.0 * std::ldexp(1.0, -11));  // |value| < 5 or so
  });
}

TEST_P(CachedAttention, RoundsOnlyTheResultOfBFloat16) {
  test::for_random_cases(40, [](Random& random) {
    AttentionCase<BFloat16> attention(random);
    run(attention, test::Serial());
    EXPECT_LE(attention.largest_error(), 5.0 * std::ldexp(1.0, -8));
  });
}

/// A row of the cache from head_dim elements, rounded to nearest even, in plain arithmetic.
template <typename Cache>
std::vector<Cache> rounded_row(std::span<const float> x) {
  if constexpr (std::is_same_v<Cache, std::int8_t>) {
    float largest = 1e-30F;
    bool finite = true;
    for (const float element : x) {
      largest = std::max(largest, std::abs(element));
      finite &= std::isfinite(element);
    }
    const BFloat16 scale(finite ? largest / 127.0F : std::numeric_limits<float>::quiet_NaN());
    std::vector<std::int8_t> row(x.size() + sizeof(scale));
    std::ranges::transform(x, row.begin(), [&](float element) {
      return finite ? static_cast<std::int8_t>(std::nearbyint(
                          element * (1.0F / static_cast<float>(scale))))  // ties to even
                    : std::int8_t{0};
    });
    std::memcpy(row.data() + x.size(), &scale, sizeof(scale));
    return row;
  } else {
    std::vector<Cache> row;
    std::ranges::transform(x, std::back_inserter(row), [](float v) { return Cache(v); });
    return row;
  }
}

/// The same row of the cache, to the bit; of one that is not finite only the scale, a NaN.
template <typename Cache>
void expect_row(const Cache* found, std::span<const float> x) {
  const std::vector<Cache> expected = rounded_row<Cache>(x);
  if constexpr (std::is_same_v<Cache, std::int8_t>) {
    const auto head_dim = static_cast<std::int64_t>(x.size());
    if (std::isnan(test::cached_element(expected.data(), head_dim, 0))) {
      EXPECT_TRUE(std::isnan(test::cached_element(found, head_dim, 0)));
      return;
    }
  }
  EXPECT_EQ(std::memcmp(found, expected.data(), expected.size() * sizeof(Cache)), 0);
}

/// New keys and values are in the pool as `Cache` rounds them, to the bit: plain ONNX Runtime
/// rounds the same way.
template <typename Cache>
void expect_rounded_once(const AttentionCase<float, Cache>& of) {
  const std::int64_t head_dim = of.args.head_dim;
  for (std::int64_t row = 0; row < of.args.rows; ++row) {
    for (std::int64_t token = of.row_offsets[row]; token < of.row_offsets[row + 1]; ++token) {
      const std::int64_t position = of.append_positions[row] + token - of.row_offsets[row];
      for (std::int64_t head = 0; head < of.args.num_kv_heads; ++head) {
        const std::size_t at = of.pool_index(row, position, head);
        const std::size_t key = of.qkv_index(token, of.args.num_heads + head);
        const std::size_t value =
            of.qkv_index(token, of.args.num_heads + of.args.num_kv_heads + head);
        const auto size = static_cast<std::size_t>(head_dim);
        expect_row(&of.key_pool[at], std::span(of.qkv).subspan(key, size));
        expect_row(&of.value_pool[at], std::span(of.qkv).subspan(value, size));
      }
    }
  }
}

/// float32 over a narrower cache: what is read is exact, so the limits are those of float32.
template <typename Cache>
void expect_exact_over_narrow_cache(double limit = 2e-6) {
  test::for_random_cases(60, [limit](Random& random) {
    AttentionCase<float, Cache> attention(random, random.chance(0.1));
    run(attention, test::Serial());
    expect_rounded_once(attention);
    EXPECT_LE(attention.largest_error(), limit);
  });
}

TEST_P(CachedAttention, AgreesWithDoublePrecisionOverACacheOfFloat16) {
  expect_exact_over_narrow_cache<Float16>();
}

TEST_P(CachedAttention, AgreesWithDoublePrecisionOverACacheOfBFloat16) {
  expect_exact_over_narrow_cache<BFloat16>();
}

TEST_P(CachedAttention, AgreesWithDoublePrecisionOverACacheOfInt8) {
  // Scores and weights are rounded once more, when they are multiplied by the rows' scales.
  expect_exact_over_narrow_cache<std::int8_t>(4e-6);
}

TEST_P(CachedAttention, ScalesRowsOfInt8ByWhateverMagnitudeTheyHave) {
  test::for_random_cases(20, [](Random& random) {
    AttentionCase<float, std::int8_t> attention(random);
    // Zeros, halfway between two values, what the rounding of the scale pushes up, the largest.
    constexpr float kHard[] = {0.0F, 1e-38F, -1e-30F, 1e-8F, 0.5F, -63.5F, 126.5F, 127.0F, 3e38F};
    const std::int64_t largest = random.integer(1, std::size(kHard));
    for (float& element : attention.qkv) {
      element = random.pick(std::span(kHard).first(static_cast<std::size_t>(largest)));
    }
    run(attention, test::Serial());
    expect_rounded_once(attention);
  });
}

TEST_P(CachedAttention, ShowsValuesOfInt8ThatAreNotFinite) {
  test::for_random_cases(20, [](Random& random) {
    AttentionCase<float, std::int8_t> attention(random);
    if (attention.tokens == 0) {
      return;
    }
    constexpr float kBad[] = {std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()};
    // Anywhere in the value of the last token, which attends to itself.
    const std::int64_t heads = attention.args.num_heads;
    const std::int64_t head = random.integer(0, heads - 1);
    const std::int64_t row = ((attention.tokens - 1) * 3 + 2) * heads + head;
    const std::int64_t head_dim = attention.args.head_dim;
    const std::int64_t at = row * head_dim + random.integer(0, head_dim - 1);
    attention.qkv[static_cast<std::size_t>(at)] = random.pick(std::span(kBad));
    run(attention, test::Serial());
    expect_rounded_once(attention);
    const std::int64_t first = ((attention.tokens - 1) * heads + head) * head_dim;
    for (std::int64_t i = first; i < first + head_dim; ++i) {
      EXPECT_TRUE(std::isnan(attention.attention[static_cast<std::size_t>(i)]));
    }
  });
}

TEST_P(CachedAttention, RoundsKeysBeyondTheRangeOfFloat16AsACastDoes) {
  test::for_random_cases(5, [](Random& random) {
    AttentionCase<float, Float16> attention(random);
    // Subnormal, just below and beyond the largest, halfway between two neighbours.
    constexpr float kHard[] = {1e-7F, -3e-5F, 65519.0F, 65520.0F, -1e6F, 1.00048828125F, 0.0F};
    for (float& element : attention.qkv) {
      element = random.pick(std::span(kHard));
    }
    run(attention, test::Serial());
    expect_rounded_once(attention);
  });
}

TEST_P(CachedAttention, ResultDoesNotDependOnThreads) {
  test::for_random_cases(10, [](Random& random) {
    Random same = random;
    AttentionCase<float> serial(random, true);
    AttentionCase<float> threaded(same, true);
    run(serial, test::Serial());
    run(threaded, test::ThreeThreads());
    EXPECT_EQ(serial.attention, threaded.attention);
  });
}

TEST_P(CachedAttention, WritesNothingButTheNewTokens) {
  test::for_random_cases(40, [](Random& random) {
    AttentionCase<float> attention(random);
    const std::vector<float> before = attention.key_pool;
    run(attention, test::Serial());
    std::vector<bool> is_new(before.size(), false);
    for (std::int64_t row = 0; row < attention.args.rows; ++row) {
      const std::int64_t begin = attention.append_positions[row];
      const std::int64_t size = attention.row_offsets[row + 1] - attention.row_offsets[row];
      for (std::int64_t position = begin; position < begin + size; ++position) {
        for (std::int64_t head = 0; head < attention.args.num_kv_heads; ++head) {
          const auto first = static_cast<std::ptrdiff_t>(attention.pool_index(row, position, head));
          std::fill_n(is_new.begin() + first, attention.args.head_dim, true);
        }
      }
    }
    for (std::size_t i = 0; i < before.size(); ++i) {
      const bool same = std::memcmp(&before[i], &attention.key_pool[i], sizeof(float)) == 0;
      EXPECT_NE(same, static_cast<bool>(is_new[i])) << "at element " << i;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Targets, CachedAttention, test::all_instruction_sets(),
                         test::instruction_set_name);

}  // namespace
}  // namespace kvcache::kernels
