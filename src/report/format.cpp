#include "report/format.hpp"

#include <fmt/format.h>

#include <array>

namespace kvcache::report {

std::string format_bytes(std::size_t bytes) {
  if (bytes < 1000) {
    return fmt::format("{} bytes", bytes);
  }
  constexpr std::array kUnits{"kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (value >= 999.995 && unit + 1 < kUnits.size()) {  // what would be printed as 1000.00
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.2f} {}", value, kUnits.at(unit));
}

std::string format_bandwidth(double bytes_per_second) {
  return fmt::format("{:.1f} GB/s", bytes_per_second / 1e9);
}

}  // namespace kvcache::report
