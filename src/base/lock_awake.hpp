// Mutexes that are held for microseconds.
#pragma once

#include <mutex>

#include "base/spin_wait.hpp"

namespace kvcache {

/// Locks a mutex that is held only for short: tries for some microseconds, which is less than it
/// takes to fall asleep and to be woken, and sleeps only then.
inline void lock_awake(std::unique_lock<std::mutex>& lock) {
  constexpr int kTries = 32;
  constexpr int kPauses = 16;  // between two tries, so that those who try do not slow the holder
  SpinWait spin;
  for (int tries = 0; tries < kTries; ++tries) {
    if (lock.try_lock()) {
      return;
    }
    for (int i = 0; i < kPauses; ++i) {
      spin.pause();
    }
  }
  lock.lock();
}

}  // namespace kvcache
