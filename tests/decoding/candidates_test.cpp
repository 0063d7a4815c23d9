#include "decoding/candidates.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/top_k_cpu.hpp"
#include "support/random_cases.hpp"
#include "support/random_cuts.hpp"

namespace kvcache::decoding {
namespace {

/// Where the k best are found on a device, what is drawn from is the same to the last bit.
TEST(Candidates, OfTheLargestAreThoseOfAllLogits) {
  test::for_random_cases(200, [](test::Random& random) {
    const std::int64_t count = random.integer(2, 300);
    std::vector<float> logits(static_cast<std::size_t>(count));
    const float step = random.chance(0.5) ? 0.5F : 0;  // many are equal
    std::ranges::generate(logits, [&] {
      return step > 0 ? step * static_cast<float>(random.integer(-6, 6)) : 3 * random.normal();
    });
    const SamplingOptions options = test::random_cuts(random, 1, count - 1);

    std::vector<std::int32_t> tokens;
    kernels::top_k_cpu(logits.data(), count, static_cast<std::int64_t>(options.top_k), tokens);
    std::vector<TokenScore> largest;
    largest.reserve(tokens.size());
    for (const std::int32_t token : tokens) {
      largest.push_back({token, logits[static_cast<std::size_t>(token)]});
    }
    Candidates of_all;
    of_all.choose(logits, largest.front().logit, options);
    Candidates of_largest;
    of_largest.choose_of(largest, options);
    EXPECT_EQ(of_largest.total(), of_all.total());
    EXPECT_TRUE(std::ranges::equal(of_largest.kept(), of_all.kept(),
                                   [](const Candidate& a, const Candidate& b) {
                                     return a.token == b.token && a.weight == b.weight;
                                   }));
  });
}

}  // namespace
}  // namespace kvcache::decoding
