#include "report/rank_test.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "report/statistics.hpp"

namespace kvcache::report {
namespace {

constexpr std::size_t kMostExact = 50;

/// P(U <= u) for u = 0, 1, … where both groups come from one distribution without ties.
std::vector<double> exact_distribution(std::size_t first, std::size_t second) {
  // ways[u] of n and m samples: those where the largest is of the first group, and the others.
  std::vector<std::vector<double>> row(second + 1, std::vector<double>{1});
  for (std::size_t n = 1; n <= first; ++n) {
    std::vector<std::vector<double>> next(second + 1);
    next[0] = {1};
    for (std::size_t m = 1; m <= second; ++m) {
      std::vector<double> ways(n * m + 1, 0);
      for (std::size_t u = 0; u < row[m].size(); ++u) {
        ways[u + m] += row[m][u];
      }
      for (std::size_t u = 0; u < next[m - 1].size(); ++u) {
        ways[u] += next[m - 1][u];
      }
      next[m] = std::move(ways);
    }
    row = std::move(next);
  }
  std::vector<double>& ways = row[second];
  const double all = std::accumulate(ways.begin(), ways.end(), 0.0);
  double sum = 0;
  for (double& way : ways) {
    sum += way;
    way = sum / all;
  }
  return ways;
}

/// Of the number of pairs whose first is larger, where both groups come from one distribution.
class UDistribution {
 public:
  UDistribution(std::size_t first, std::size_t second)
      : mean_(static_cast<double>(first) * static_cast<double>(second) / 2),
        deviation_(std::sqrt(mean_ * static_cast<double>(first + second + 1) / 6)) {
    if (first <= kMostExact && second <= kMostExact) {
      exact_ = exact_distribution(first, second);
    }
  }

  /// P(U <= u).
  [[nodiscard]] double up_to(std::size_t u) const {
    return exact_.empty()
               ? std::erfc((mean_ - 0.5 - static_cast<double>(u)) / deviation_ / std::sqrt(2.0)) / 2
               : exact_.at(u);
  }

 private:
  double mean_;
  double deviation_;
  std::vector<double> exact_;
};

}  // namespace

double mann_whitney_p(const std::vector<double>& first, const std::vector<double>& second) {
  double u = 0;
  for (const double a : first) {
    for (const double b : second) {
      u += a > b ? 1 : a == b ? 0.5 : 0;
    }
  }
  const double smaller = std::min(u, static_cast<double>(first.size() * second.size()) - u);
  const UDistribution distribution(first.size(), second.size());
  return std::min(1.0, 2 * distribution.up_to(static_cast<std::size_t>(std::ceil(smaller))));
}

double least_mann_whitney_p(std::size_t first, std::size_t second) {
  return std::min(1.0, 2 * UDistribution(first, second).up_to(0));
}

RatioInterval ratio_interval(const std::vector<double>& first, const std::vector<double>& second,
                             double confidence) {
  std::vector<double> ratios;
  ratios.reserve(first.size() * second.size());
  for (const double a : first) {
    for (const double b : second) {
      ratios.push_back(b / a);
    }
  }
  std::sort(ratios.begin(), ratios.end());
  // As many ratios lie outside of each end as U may be where the test still finds a difference.
  const UDistribution distribution(first.size(), second.size());
  const double tail = (1 - confidence) / 2;
  std::size_t end = 0;  // the ratio at which the interval begins, and as many from the end
  while (end + 1 < ratios.size() / 2 && distribution.up_to(end + 1) <= tail) {
    ++end;
  }
  return {.ratio = median(ratios),
          .low = ratios[end],
          .high = ratios[ratios.size() - 1 - end],
          .coverage = std::max(0.0, 1 - 2 * distribution.up_to(end))};
}

std::vector<double> false_discovery_adjusted(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return p[i]; });
  std::vector<double> adjusted(p.size());
  double smallest = 1;
  for (std::size_t rank = order.size(); rank-- > 0;) {  // the largest p first
    const double factor = static_cast<double>(order.size()) / static_cast<double>(rank + 1);
    smallest = std::min(smallest, factor * p[order[rank]]);
    adjusted[order[rank]] = smallest;
  }
  return adjusted;
}

}  // namespace kvcache::report
