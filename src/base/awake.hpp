// Waiting without sleep, for what comes within microseconds.
#pragma once

#include <thread>

#include "hwy/base.h"
#if HWY_ARCH_X86
#include <immintrin.h>
#endif

namespace kvcache {

/// One look after another at what another thread is about to do.
class Awake {
 public:
  /// Between two looks. Gives way to other threads where that takes long: it may be one of them
  /// that is waited for.
  void look_again() noexcept {
    constexpr int kLooksAlone = 1 << 12;  // some 50 us
    if (++looks_ % kLooksAlone == 0) {
      std::this_thread::yield();
    }
#if HWY_ARCH_X86
    _mm_pause();
#elif HWY_ARCH_ARM_A64
    asm volatile("yield");
#endif
  }

  [[nodiscard]] int looks() const noexcept { return looks_; }

 private:
  int looks_ = 0;
};

}  // namespace kvcache
