// What many measurements of one thing say together.
#pragma once

#include <cstddef>
#include <vector>

namespace kvcache::report {

/// The value below which a share `q` (0…1) of the samples lies, linear between neighbours.
/// Needs at least one sample.
double quantile(std::vector<double> samples, double q);

double median(std::vector<double> samples);

struct Summary {
  std::size_t count = 0;
  double min = 0;
  double median = 0;
  double p90 = 0;
  double max = 0;
};

/// Needs at least one sample.
Summary summarize(const std::vector<double>& samples);

}  // namespace kvcache::report
