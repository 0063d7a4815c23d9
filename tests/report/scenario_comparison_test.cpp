#include "report/scenario_comparison.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kvcache::report {
namespace {

/// 20 tokens that took 50 ms, then 5 each; without the cache, 20 each.
ScenarioComparison twenty_tokens() {
  ScenarioComparison comparison{.with_cache = std::vector<double>(20, 5),
                                .without_cache = std::vector<double>(20, 20),
                                .measured = 20};
  comparison.with_cache.front() = 50;
  return comparison;
}

TEST(ScenarioComparison, SaysItInTheSpecificationsWords) {
  const ScenarioComparison comparison = twenty_tokens();
  EXPECT_EQ(comparison.describe_scenario_a(),
            "[Scenario A] Sequential generation WITH KV cache\n"
            "  Total time: 145.00 ms\n"
            "  Avg per token: 7.25 ms\n"
            "  First token: 50.00 ms\n"
            "  Subsequent avg: 5.00 ms\n"
            "  Speedup: 10.00×\n"
            "  (This speedup is the first token's time over the subsequent average.)\n");
  EXPECT_EQ(comparison.describe_scenario_b(),
            "[Scenario B] Recomputing full sequence WITHOUT KV cache\n"
            "  Total time: 400.00 ms\n"
            "  Avg per token: 20.00 ms\n"
            "  Measured: all 20 lengths\n");
  EXPECT_EQ(comparison.describe_summary(),
            "[Performance Summary]\n"
            "  Overall speedup: 2.76×\n"
            "  Time saved: 255.00 ms\n"
            "  Efficiency: 36.2% of no-cache time\n"
            "  Tokens evaluated: 20 instead of 210\n"
            "\n"
            "✓ Test passed: Significant speedup achieved (2.76×)\n");
}

TEST(ScenarioComparison, FailsWhereTheCacheIsNotFaster) {
  ScenarioComparison comparison = twenty_tokens();
  EXPECT_TRUE(comparison.cache_is_faster());
  comparison.without_cache.assign(20, 4.5);
  EXPECT_FALSE(comparison.cache_is_faster());
  const std::string summary = comparison.describe_summary();
  EXPECT_NE(summary.find("  Time saved: -55.00 ms\n"), std::string::npos) << summary;
  EXPECT_NE(summary.find("\n✗ Test failed: No speedup achieved (0.62×)\n"), std::string::npos)
      << summary;
  comparison.without_cache = comparison.with_cache;
  EXPECT_FALSE(comparison.cache_is_faster()) << "as fast is not faster";
}

TEST(ScenarioComparison, SaysWhichLengthsWereMeasured) {
  ScenarioComparison comparison = twenty_tokens();
  comparison.measured = 7;
  const std::string text = comparison.describe_scenario_b();
  EXPECT_TRUE(text.ends_with("  Measured: 7 of 20 lengths, those between interpolated\n")) << text;
}

TEST(ScenarioComparison, CurveEndsWithWhereTheTargetIsReached) {
  ScenarioComparison comparison = twenty_tokens();
  EXPECT_EQ(comparison.describe_curve(),
            "| New tokens | With cache (ms) | Without (ms) | Speedup |\n"
            "| ---------- | --------------: | -----------: | ------: |\n"
            "| 16         |           125.0 |        320.0 |   2.56x |\n"
            "| 20         |           145.0 |        400.0 |   2.76x |\n"
            "\n"
            "Target of 10x: not reached within 20 new tokens; the speedup grows with their number "
            "(--tokens)\n");
  comparison.without_cache.back() = 1200;
  const std::string text = comparison.describe_curve();
  EXPECT_TRUE(text.ends_with("\nTarget of 10x: reached at 20 new tokens\n")) << text;
}

TEST(CurvePoints, DoubleAndEndWithTheLast) {
  EXPECT_EQ(curve_points(2), (std::vector<std::size_t>{2}));
  EXPECT_EQ(curve_points(16), (std::vector<std::size_t>{16}));
  EXPECT_EQ(curve_points(100), (std::vector<std::size_t>{16, 32, 64, 100}));
}

}  // namespace
}  // namespace kvcache::report
