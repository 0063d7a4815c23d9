#include "kernels/cpu/exp_sums_cpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/instruction_sets.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

class ExpSums : public test::OnInstructionSet {};

INSTANTIATE_TEST_SUITE_P(Targets, ExpSums, test::all_instruction_sets(),
                         test::instruction_set_name);

TEST_P(ExpSums, EqualTheSumsOfEachBlock) {
  test::for_random_cases(100, [](test::Random& random) {
    std::vector<float> logits(static_cast<std::size_t>(random.integer(1, 3000)));
    std::ranges::generate(logits, [&] {
      return random.chance(0.01) ? -std::numeric_limits<float>::infinity() : 10 * random.normal();
    });
    const float largest = *std::ranges::max_element(logits);
    if (std::isinf(largest)) {
      return;
    }
    const double temperature = random.pick(std::vector<double>{1, 0.3, 7, 1e-4, 1e-310});
    const std::size_t blocks = (logits.size() + kExpSumBlock - 1) / kExpSumBlock;
    std::vector<double> sums(blocks);
    exp_sums_cpu(logits.data(), std::ssize(logits), largest, temperature, sums.data());
    for (std::size_t block = 0; block < blocks; ++block) {
      double expected = 0;
      for (std::size_t i = block * kExpSumBlock;
           i < std::min(logits.size(), (block + 1) * kExpSumBlock); ++i) {
        expected += std::exp((static_cast<double>(logits[i]) - largest) / temperature);
      }
      EXPECT_NEAR(sums[block], expected, 1e-13 * expected + 1e-300) << "block " << block;
    }
  });
}

}  // namespace
}  // namespace kvcache::kernels
