// The specification's comparison of generating tokens with the cache and without, as text.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace kvcache::report {

/// What each of the same new tokens took, in milliseconds, in both scenarios: two or more tokens.
struct ScenarioComparison {
  std::vector<double> with_cache;     // scenario A
  std::vector<double> without_cache;  // scenario B
  std::size_t measured = 0;           // lengths of B that were measured; the others, interpolated

  [[nodiscard]] std::size_t tokens() const noexcept { return with_cache.size(); }

  /// How much faster scenario A had produced its first `n` tokens.
  [[nodiscard]] double speedup_at(std::size_t n) const;
  /// Whether the cache gained anything over all tokens.
  [[nodiscard]] bool cache_is_faster() const { return speedup_at(tokens()) > 1; }

  /// Times of scenario A, in the specification's words.
  [[nodiscard]] std::string describe_scenario_a() const;
  /// Times of scenario B, in the specification's words, and which of them were measured.
  [[nodiscard]] std::string describe_scenario_b() const;
  /// Both beside each other, in the specification's words, with the verdict.
  [[nodiscard]] std::string describe_summary() const;
  /// A table of the speedup at curve_points(), and where it reaches the target of 10.
  [[nodiscard]] std::string describe_curve() const;
};

/// Numbers of new tokens at which the speedup is reported: 16, 32, 64, … and `tokens`.
std::vector<std::size_t> curve_points(std::size_t tokens);

}  // namespace kvcache::report
