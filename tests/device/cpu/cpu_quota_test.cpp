#include "device/cpu/cpu_quota.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/temporary_directory.hpp"

namespace kvcache::device {
namespace {

/// A system with control groups, in a directory.
class CpuQuota : public testing::Test {
 protected:
  void write(const std::filesystem::path& path, const std::string& text) const {
    std::filesystem::create_directories((root() / path).parent_path());
    std::ofstream(root() / path) << text;
  }
  [[nodiscard]] std::filesystem::path root() const { return directory_.path(); }
  [[nodiscard]] double quota() const { return cpu_quota(root()).value_or(0); }

 private:
  test::TemporaryDirectory directory_;
};

constexpr const char* kVersion2 =
    "22 1 0:20 / / rw shared:1 - ext4 /dev/sda1 rw\n"
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kVersion1 =
    "31 23 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n";

TEST_F(CpuQuota, IsNoneWhereTheSystemDoesNotTell) { EXPECT_FALSE(cpu_quota(root())); }

TEST_F(CpuQuota, OfVersion2) {
  write("proc/self/mountinfo", kVersion2);
  write("proc/self/cgroup", "0::/\n");
  EXPECT_FALSE(cpu_quota(root()));
  write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_FALSE(cpu_quota(root()));
  write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_DOUBLE_EQ(quota(), 1.5);
}

TEST_F(CpuQuota, OfVersion1) {
  write("proc/self/mountinfo", kVersion1);
  write("proc/self/cgroup", "5:cpuset:/other\n4:cpu,cpuacct:/job\n0::/\n");
  const std::filesystem::path group = "sys/fs/cgroup/cpu,cpuacct/job";
  write(group / "cpu.cfs_quota_us", "-1\n");
  write(group / "cpu.cfs_period_us", "100000\n");
  EXPECT_FALSE(cpu_quota(root()));
  write(group / "cpu.cfs_quota_us", "250000\n");
  EXPECT_DOUBLE_EQ(quota(), 2.5);
}

TEST_F(CpuQuota, IsTheLeastOfTheGroupsAbove) {
  write("proc/self/mountinfo", std::string(kVersion2) + kVersion1);
  write("proc/self/cgroup", "4:cpu,cpuacct:/job\n0::/slice/service\n");
  write("sys/fs/cgroup/slice/service/cpu.max", "800000 100000\n");
  EXPECT_DOUBLE_EQ(quota(), 8);
  write("sys/fs/cgroup/slice/cpu.max", "400000 100000\n");
  EXPECT_DOUBLE_EQ(quota(), 4);
  write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "300000\n");
  write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(quota(), 3);
}

TEST_F(CpuQuota, OfAContainerThatSeesItsOwnGroupAsTheTop) {
  write("proc/self/mountinfo",
        "32 23 0:28 /docker/0123 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
  write("proc/self/cgroup", "4:cpu:/docker/0123\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n");
  EXPECT_DOUBLE_EQ(quota(), 2);
  write("proc/self/cgroup", "4:cpu:/elsewhere\n");
  EXPECT_DOUBLE_EQ(quota(), 2);
}

TEST_F(CpuQuota, IsNoneOfWhatIsNoNumber) {
  write("proc/self/mountinfo", kVersion2);
  write("proc/self/cgroup", "0::/\n");
  for (const char* text :
       {"", "\n", "100000\n", "0 100000\n", "-5 100000\n", "100000 0\n", "x y\n"}) {
    write("sys/fs/cgroup/cpu.max", text);
    EXPECT_FALSE(cpu_quota(root())) << text;
  }
}

}  // namespace
}  // namespace kvcache::device
