#include "device/cpu/cpu_info.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace kvcache::device {
namespace {

/// The list of hyper-threads that share a core with `cpu`, which names the core; "cpu N" where the
/// system does not tell.
std::string core_of(int cpu) {
  std::ifstream file(
      fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
  std::string siblings;
  return std::getline(file, siblings) ? siblings : fmt::format("cpu {}", cpu);
}

/// CPU time per time that the control group grants (cgroup v2's cpu.max), or a huge number.
double cpu_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0;
  double period = 0;
  return file >> quota >> period && period > 0 ? quota / period : 1e9;
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
  return std::max(1, static_cast<int>(std::min(count, std::ceil(cpu_quota()))));
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      return line.substr(line.find(':') + 2);
    }
  }
  return "unknown CPU";
}

}  // namespace kvcache::device
