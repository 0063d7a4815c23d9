#include "report/environment.hpp"

#include <fmt/format.h>
#include <onnxruntime_cxx_api.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <map>
#include <thread>
#include <utility>

#include "base/system_lines.hpp"
#include "device/cpu/cpu_info.hpp"

#ifndef KVCACHE_VERSION
#define KVCACHE_VERSION "unknown"
#endif

namespace kvcache::report {
namespace {

std::string operating_system() {
  utsname names{};
  return ::uname(&names) == 0 ? fmt::format("{} {} {}", names.sysname, names.release, names.machine)
                              : "unknown";
}

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#else
  return "unknown";
#endif
}

std::size_t positive_or_zero(long value) { return static_cast<std::size_t>(std::max(0L, value)); }

/// The word in brackets: "always [madvise] never".
std::string transparent_huge_pages() {
  const std::string line = SystemLines::first_of("/sys/kernel/mm/transparent_hugepage/enabled");
  const std::size_t begin = line.find('[');
  const std::size_t end = line.find(']');
  return begin < end && end != std::string::npos ? line.substr(begin + 1, end - begin - 1)
                                                 : "unknown";
}

/// The processors that share the last cache of `cpu`, and its size; 0 where the system does not
/// tell.
std::pair<std::string, std::size_t> last_level_cache_of(int cpu) {
  for (const int index : {4, 3, 2}) {
    const auto cache = fmt::format("/sys/devices/system/cpu/cpu{}/cache/index{}/", cpu, index);
    std::size_t kibibytes = 0;
    if (std::sscanf(SystemLines::first_of(cache + "size").c_str(), "%zu", &kibibytes) == 1) {
      return {SystemLines::first_of(cache + "shared_cpu_list"), kibibytes * 1024};
    }
  }
  return {};
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

/// Of all last-level caches that this process may use; 0 where the system does not tell.
std::size_t last_level_cache_bytes() {
  // Not sysconf(): on some processors it multiplies by the number of cores.
  std::map<std::string, std::size_t> caches;  // by the processors that share them
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &allowed)) {
        caches.insert(last_level_cache_of(cpu));
      }
    }
  }
  std::size_t bytes = 0;
  for (const auto& [sharers, size] : caches) {
    bytes += size;
  }
  return bytes;
}

}  // namespace

Environment read_environment() {
  return {.kvcache_version = KVCACHE_VERSION,
          .onnxruntime_version = Ort::GetVersionString(),
          .compiler = compiler(),
          .operating_system = operating_system(),
          .processor = device::cpu_name(),
          .physical_cores = device::usable_physical_cores(),
          .logical_cpus = static_cast<int>(std::thread::hardware_concurrency()),
          .memory_bytes = positive_or_zero(::sysconf(_SC_PHYS_PAGES)) *
                          positive_or_zero(::sysconf(_SC_PAGESIZE)),
          .last_level_cache_bytes = last_level_cache_bytes(),
          .transparent_huge_pages = transparent_huge_pages(),
          .date = utc_now()};
}

std::size_t peak_resident_bytes() {
  // Not getrusage(): its figure includes what ran in this process before exec(), such as the
  // script that started the program.
  SystemLines status("/proc/self/status");
  for (std::string line; status.next(line);) {
    std::size_t kibibytes = 0;
    if (std::sscanf(line.c_str(), "VmHWM: %zu", &kibibytes) == 1) {
      return kibibytes * 1024;
    }
  }
  return 0;
}

}  // namespace kvcache::report
