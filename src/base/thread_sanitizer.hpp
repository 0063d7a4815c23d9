// What the thread sanitiser must be told: ONNX Runtime is not compiled with it, so it cannot see
// how the thread pool hands work over.
#pragma once

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace kvcache {

/// What happened in this thread before comes before what follows a receive_work() of the same
/// address.
inline void publish_work([[maybe_unused]] void* work) noexcept {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(work);
#endif
}

/// The other side of publish_work().
inline void receive_work([[maybe_unused]] void* work) noexcept {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(work);
#endif
}

}  // namespace kvcache
