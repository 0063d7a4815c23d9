// How much of the processors the control groups of this process grant it.
#pragma once

#include <filesystem>
#include <optional>

namespace kvcache::device {

/// CPU time per time, the least that a control group of this process or one above it grants, of
/// version 2 (cpu.max) or 1 (cpu.cfs_quota_us); nothing where none limits it or the system does not
/// tell. `root` stands for /.
std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

}  // namespace kvcache::device
