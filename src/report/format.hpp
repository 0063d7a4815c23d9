// How figures are written for people.
#pragma once

#include <cstddef>
#include <string>

namespace kvcache::report {

/// "36.86 kB", "75.50 MB": decimal units, as disks and the specification count.
std::string format_bytes(std::size_t bytes);

/// "32.5 GB/s"
std::string format_bandwidth(double bytes_per_second);

}  // namespace kvcache::report
