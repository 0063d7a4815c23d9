// Measurements begin when nothing of before is still at work.
#pragma once

#include <chrono>
#include <functional>

namespace kvcache::report {

/// How wait_until_idle() looks at the process.
struct ProcessClock {
  /// CPU time that all threads have used.
  std::function<std::chrono::nanoseconds()> cpu_time;
  std::function<void(std::chrono::nanoseconds)> sleep;

  static ProcessClock of_this_process();
};

/// Waits until no thread of this process works: ONNX Runtime's spin for 20 ms and more after a run,
/// on the cores that are to be measured now. Others may work on; then it gives up, after 0.2 s.
void wait_until_idle(const ProcessClock& clock = ProcessClock::of_this_process());

}  // namespace kvcache::report
