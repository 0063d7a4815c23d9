// Memory of a device that is refused on purpose.
#pragma once

#include <atomic>

namespace kvcache {

/// For tests: asked wherever memory of a GPU is taken, or pinned for it; true: there is none. On
/// the CPU, tests stand between the library and the system instead (tests/support/faults.cpp).
inline std::atomic<bool (*)() noexcept> device_memory_fault{nullptr};

inline bool device_memory_is_refused() noexcept {
  auto* const asked = device_memory_fault.load(std::memory_order_relaxed);
  return asked != nullptr && asked();
}

}  // namespace kvcache
