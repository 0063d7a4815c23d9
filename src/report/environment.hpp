// Where and with what figures were measured.
#pragma once

#include <cstddef>
#include <string>

namespace kvcache::report {

/// The machine and the versions: without them a figure means nothing.
struct Environment {
  std::string kvcache_version;
  std::string onnxruntime_version;
  std::string compiler;
  std::string operating_system;
  std::string processor;
  int physical_cores = 0;  // that this process may use
  int logical_cpus = 0;
  std::size_t memory_bytes = 0;
  std::size_t last_level_cache_bytes = 0;  // that this process may use, together; 0: unknown
  std::string transparent_huge_pages;      // "always", "madvise", "never"
  std::string date;                        // UTC, ISO 8601
};

Environment read_environment();

/// The most memory this process ever had resident, mapped files included.
std::size_t peak_resident_bytes();

}  // namespace kvcache::report
