// What the library needs to know about the processor.
#pragma once

#include <string>
#include <vector>

namespace kvcache::device {

/// One processor of each physical core in this process's affinity mask, as the system numbers them;
/// empty where it does not tell.
std::vector<int> usable_cpus();

/// Physical cores this process may use: its affinity mask, hyper-threads counted once, and the
/// control group's CPU quota rounded up. At least 1.
int usable_physical_cores();

/// The processor's name as the system gives it, such as "AMD EPYC 9654"; "unknown CPU" otherwise.
std::string cpu_name();

}  // namespace kvcache::device
