#include "report/idle.hpp"

#include <ctime>
#include <thread>

namespace kvcache::report {

ProcessClock ProcessClock::of_this_process() {
  return {.cpu_time =
              [] {
                timespec time{};
                ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
                return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
              },
          .sleep = [](std::chrono::nanoseconds step) { std::this_thread::sleep_for(step); }};
}

void wait_until_idle(const ProcessClock& clock) {
  constexpr std::chrono::nanoseconds kStep = std::chrono::milliseconds(2);
  constexpr int kSteps = 100;
  for (int step = 0; step < kSteps; ++step) {
    const auto before = clock.cpu_time();
    clock.sleep(kStep);
    if (clock.cpu_time() - before < kStep / 4) {
      return;
    }
  }
}

}  // namespace kvcache::report
