#include "device/cpu/cpu_info.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/system_lines.hpp"
#include "device/cpu/cpu_quota.hpp"

namespace kvcache::device {
namespace {

/// The list of hyper-threads that share a core with `cpu`, which names the core; "cpu N" where the
/// system does not tell.
std::string core_of(int cpu) {
  const std::string siblings = SystemLines::first_of(
      fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
  return siblings.empty() ? fmt::format("cpu {}", cpu) : siblings;
}

}  // namespace

std::vector<int> usable_cpus() {
  std::set<std::string> cores;
  std::vector<int> cpus;
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &allowed) && cores.insert(core_of(cpu)).second) {
        cpus.push_back(cpu);
      }
    }
  }
  return cpus;
}

int usable_physical_cores() {
  const std::vector<int> cores = usable_cpus();
  const auto count = cores.empty() ? static_cast<double>(std::thread::hardware_concurrency())
                                   : static_cast<double>(cores.size());
  return std::max(1, static_cast<int>(std::min(count, std::ceil(cpu_quota().value_or(count)))));
}

std::string cpu_name() {
  SystemLines file("/proc/cpuinfo");
  for (std::string line; file.next(line);) {
    if (line.starts_with("model name")) {
      const std::size_t name = line.find_first_not_of(": \t", line.find(':'));
      return name == std::string::npos ? "unknown CPU" : line.substr(name);
    }
  }
  return "unknown CPU";
}

}  // namespace kvcache::device
