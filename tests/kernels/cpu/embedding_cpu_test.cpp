// Where a run begins, element by element.
#include "kernels/cpu/embedding_cpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <vector>

#include "support/parallel_for.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::Random;

/// Tables, ids and the run over them.
struct EmbeddingCase {
  explicit EmbeddingCase(Random& random)
      : size(random.integer(1, 70)),
        rows(random.integer(1, 20)),
        tokens(random.integer(0, 40)),
        out(static_cast<std::size_t>(tokens * size), std::numeric_limits<float>::quiet_NaN()) {
    std::generate_n(std::back_inserter(table), rows * size, [&] { return random.normal(); });
    std::generate_n(std::back_inserter(positions), rows * size, [&] { return random.normal(); });
    std::generate_n(std::back_inserter(ids), tokens, [&] { return random.integer(0, rows - 1); });
    std::generate_n(std::back_inserter(places), tokens,
                    [&] { return random.integer(0, rows - 1); });
  }

  void run(const Embedding& embedding) {
    embedding_cpu(embedding,
                  {.input_ids = ids.data(),
                   .position_ids = places.data(),
                   .out = out.data(),
                   .tokens = tokens},
                  test::ThreeThreads());
  }

  std::int64_t size;
  std::int64_t rows;
  std::int64_t tokens;
  std::vector<float> table, positions, out;
  std::vector<std::int64_t> ids, places;
};

TEST(Embedding, ScalesATokensRowAndAddsThatOfItsPosition) {
  test::for_random_cases(40, [](Random& random) {
    EmbeddingCase of(random);
    const bool placed = random.chance(0.5);
    const float scale = random.chance(0.5) ? 1.0F : 24.5F;
    of.run({.tokens = of.table.data(),
            .scale = scale,
            .positions = placed ? of.positions.data() : nullptr,
            .size = of.size,
            .vocab_size = of.rows,
            .max_seq_len = placed ? of.rows : 0});
    for (std::int64_t token = 0; token < of.tokens; ++token) {
      for (std::int64_t i = 0; i < of.size; ++i) {
        const auto element = [&](const std::vector<float>& from, std::int64_t row) {
          return from[static_cast<std::size_t>(row * of.size + i)];
        };
        const float scaled = scale * element(of.table, of.ids[static_cast<std::size_t>(token)]);
        const float expected =
            placed ? scaled + element(of.positions, of.places[static_cast<std::size_t>(token)])
                   : scaled;
        ASSERT_FLOAT_EQ(element(of.out, token), expected) << "token " << token << ", element " << i;
      }
    }
  });
}

TEST(Embedding, ConvertsTablesOf16Bits) {
  test::for_random_cases(10, [](Random& random) {
    EmbeddingCase of(random);
    const std::vector<BFloat16> narrow(of.table.begin(), of.table.end());
    of.run({.tokens = narrow.data(), .size = of.size, .vocab_size = of.rows});
    for (std::int64_t token = 0; token < of.tokens; ++token) {
      for (std::int64_t i = 0; i < of.size; ++i) {
        const auto at = of.ids[static_cast<std::size_t>(token)] * of.size + i;
        ASSERT_EQ(of.out[static_cast<std::size_t>(token * of.size + i)],
                  static_cast<float>(narrow[static_cast<std::size_t>(at)]));
      }
    }
  });
}

}  // namespace
}  // namespace kvcache::kernels
