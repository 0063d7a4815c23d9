// The attention kernel against double precision.
#include <gtest/gtest.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "ops/cpu/cached_attention_cpu.hpp"
#include "support/attention_cases.hpp"
#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"

namespace kvcache::ops {
namespace {

using test::AttentionCase;
using test::Random;

template <typename T>
void run(AttentionCase<T>& attention, const ParallelFor& parallel_for) {
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

TEST_P(CachedAttention, RoundsOnlyTheResultOfFloat16) {
  test::for_random_cases(40, [](Random& random) {
    AttentionCase<Ort::Float16_t> attention(random);
    run(attention, test::Serial());
    EXPECT_LE(attention.largest_error(), 5.0 * std::ldexp(1.0, -11));  // |value| < 5 or so
  });
}

TEST_P(CachedAttention, RoundsOnlyTheResultOfBFloat16) {
  test::for_random_cases(40, [](Random& random) {
    AttentionCase<Ort::BFloat16_t> attention(random);
    run(attention, test::Serial());
    EXPECT_LE(attention.largest_error(), 5.0 * std::ldexp(1.0, -8));
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
        for (std::int64_t head = 0; head < attention.args.num_heads; ++head) {
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
}  // namespace kvcache::ops
