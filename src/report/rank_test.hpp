// Whether two groups of samples differ by more than their spread, whatever their distribution.
#pragma once

#include <cstddef>
#include <vector>

namespace kvcache::report {

/// The two-sided p of the Mann-Whitney U test (Mann and Whitney, 1947) of independent samples:
/// exact for up to 50 samples each, of more by the normal approximation. Ties count half and are
/// then taken for the less significant of both ways to break them. Needs a sample of both.
double mann_whitney_p(const std::vector<double>& first, const std::vector<double>& second);

/// The smallest p that so many samples can give.
double least_mann_whitney_p(std::size_t first, std::size_t second);

struct RatioInterval {
  double ratio = 1;  // the median of all second ÷ first (Hodges and Lehmann, 1963)
  double low = 1;    // of the interval that belongs to the test
  double high = 1;
  double coverage = 0;  // its confidence; less than asked for where the samples are too few
};

/// How many times as large `second` is as `first`, both positive.
RatioInterval ratio_interval(const std::vector<double>& first, const std::vector<double>& second,
                             double confidence = 0.95);

/// Adjusts the p of several tests so that of the differences found at a level at most that share is
/// false, on average (Benjamini and Hochberg, 1995); in the same order.
std::vector<double> false_discovery_adjusted(const std::vector<double>& p);

}  // namespace kvcache::report
