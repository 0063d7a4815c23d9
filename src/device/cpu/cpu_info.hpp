// What the library needs to know about the processor.
#pragma once

#include <string>

namespace kvcache::device {

/// Physical cores this process may use: its affinity mask, hyper-threads counted once, and the
/// control group's CPU quota rounded up. At least 1.
int usable_physical_cores();

/// The processor's name as the system gives it, such as "AMD EPYC 9654"; "unknown CPU" otherwise.
std::string cpu_name();

}  // namespace kvcache::device
