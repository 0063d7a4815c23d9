#include "device/cpu/cpu_quota.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace kvcache::device {
namespace {

namespace fs = std::filesystem;

/// Where the groups that limit processors are to be seen: a mount, and the group that it shows as
/// its top.
struct Mount {
  std::string group;
  fs::path point;
  bool version_2;
};

bool lists(std::string_view words, std::string_view word) {
  for (std::size_t begin = 0; begin <= words.size();) {
    const std::size_t end = std::min(words.find(',', begin), words.size());
    if (words.substr(begin, end - begin) == word) {
      return true;
    }
    begin = end + 1;
  }
  return false;
}

/// Lines of mountinfo: "ID PARENT DEVICE GROUP POINT OPTIONS … - TYPE SOURCE CONTROLLERS".
std::vector<Mount> mounts_of_groups(const fs::path& root) {
  std::vector<Mount> mounts;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    std::string group;
    std::string point;
    words >> word >> word >> word >> group >> point;
    while (words >> word && word != "-") {
    }
    std::string type;
    std::string controllers;
    words >> type >> word >> controllers;
    if (type == "cgroup2" || (type == "cgroup" && lists(controllers, "cpu"))) {
      mounts.push_back({group, point, type == "cgroup2"});
    }
  }
  return mounts;
}

/// The group of this process, from lines "ID:CONTROLLERS:GROUP", in version 2 "0::GROUP".
std::string group_of_process(const fs::path& root, bool version_2) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version_2 ? controllers.empty() : lists(controllers, "cpu")) {
      return line.substr(second + 1);
    }
  }
  return {};
}

template <typename T>
std::optional<T> read_number(const fs::path& path) {
  std::ifstream file(path);
  T number{};
  return file >> number ? std::optional(number) : std::nullopt;
}

/// What one group grants.
std::optional<double> quota_of(const fs::path& group, bool version_2) {
  double quota = 0;
  double period = 0;
  if (version_2) {
    std::ifstream file(group / "cpu.max");  // "QUOTA PERIOD", or "max PERIOD"
    file >> quota >> period;
  } else {
    quota = read_number<double>(group / "cpu.cfs_quota_us").value_or(0);  // −1: no limit
    period = read_number<double>(group / "cpu.cfs_period_us").value_or(0);
  }
  return quota > 0 && period > 0 ? std::optional(quota / period) : std::nullopt;
}

}  // namespace

std::optional<double> cpu_quota(const fs::path& root) {
  std::optional<double> least;
  for (const Mount& mount : mounts_of_groups(root)) {
    fs::path group = group_of_process(root, mount.version_2);
    // In a container, the process may see a part of the tree only, or name groups outside of it.
    group = group.lexically_relative(mount.group);
    if (group.empty() || group.begin()->string() == "..") {
      group = ".";
    }
    const fs::path top = root / mount.point.relative_path();
    for (fs::path below = group;; below = below.parent_path()) {
      if (const auto quota = quota_of(top / below, mount.version_2)) {
        least = std::min(least.value_or(*quota), *quota);
      }
      if (below.empty() || below == ".") {
        break;
      }
    }
  }
  return least;
}

}  // namespace kvcache::device
