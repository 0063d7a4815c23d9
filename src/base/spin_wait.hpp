// Waiting without sleep, for what comes within microseconds.
#pragma once

#include <thread>

#include "hwy/base.h"
#if HWY_ARCH_X86
#include <immintrin.h>
#endif

namespace kvcache {

/// Polls, one after the other, of what another thread is about to do.
class SpinWait {
 public:
  /// Between two polls. Gives way to other threads where that takes long: it may be one of them
  /// that is waited for.
  void pause() noexcept {
    constexpr int kPollsAlone = 1 << 12;  // some 50 us
    if (++polls_ % kPollsAlone == 0) {
      std::this_thread::yield();
    }
#if HWY_ARCH_X86
    _mm_pause();
#elif HWY_ARCH_ARM_A64
    asm volatile("yield");
#endif
  }

  [[nodiscard]] int polls() const noexcept { return polls_; }

 private:
  int polls_ = 0;
};

}  // namespace kvcache
