#include "device/cpu/cpu_quota.hpp"

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/system_lines.hpp"

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

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < line.size();) {
    const std::size_t end = std::min(line.find(' ', begin), line.size());
    if (end > begin) {
      words.push_back(line.substr(begin, end - begin));
    }
    begin = end + 1;
  }
  return words;
}

/// Lines of mountinfo: "ID PARENT DEVICE GROUP POINT OPTIONS … - TYPE SOURCE CONTROLLERS".
std::vector<Mount> mounts_of_groups(const fs::path& root) {
  std::vector<Mount> mounts;
  SystemLines file(root / "proc/self/mountinfo");
  for (std::string line; file.next(line);) {
    const std::vector<std::string> words = words_of(line);
    const auto dash = std::ranges::find(words, "-");
    if (dash - words.begin() < 5 || words.end() - dash < 4) {
      continue;
    }
    const std::string& type = dash[1];
    if (type == "cgroup2" || (type == "cgroup" && lists(dash[3], "cpu"))) {
      mounts.push_back({words[3], words[4], type == "cgroup2"});
    }
  }
  return mounts;
}

/// The group of this process, from lines "ID:CONTROLLERS:GROUP", in version 2 "0::GROUP".
std::string group_of_process(const fs::path& root, bool version_2) {
  SystemLines file(root / "proc/self/cgroup");
  for (std::string line; file.next(line);) {
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

/// What one group grants.
std::optional<double> quota_of(const fs::path& group, bool version_2) {
  double quota = 0;
  double period = 0;
  if (version_2) {
    // "QUOTA PERIOD", or "max PERIOD"
    const std::string line = SystemLines::first_of(group / "cpu.max");
    if (std::sscanf(line.c_str(), "%lf %lf", &quota, &period) != 2) {
      return std::nullopt;
    }
  } else {
    const auto read = [&](const char* name, double& number) {
      return std::sscanf(SystemLines::first_of(group / name).c_str(), "%lf", &number) == 1;
    };
    if (!read("cpu.cfs_quota_us", quota) || !read("cpu.cfs_period_us", period)) {  // −1: no limit
      return std::nullopt;
    }
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
