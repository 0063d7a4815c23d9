// Moves read-only memory into huge pages while it is in use.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <future>
#include <span>
#include <vector>

namespace kvcache::ops {

/// Copies mapped bytes into huge pages, part by part, and puts each copy in the place of its part.
/// Addresses stay; whoever reads meanwhile waits, at most, for the system to exchange a part.
///
/// Linux exchanges them in one call, mremap(2) with MREMAP_FIXED: it unmaps the place and moves the
/// copy's page tables there under one lock, which a page fault in between has to wait for. What it
/// may refuse, it refuses before; the bytes then stay where they are, as on systems without it.
class HugePageCopy {
 public:
  /// Begins to copy `place`, which is mapped from a multiple of 2 MiB on and which nobody writes
  /// to, with `num_threads` threads, each after it has called `ready`.
  HugePageCopy(std::span<std::byte> place, int num_threads, const std::function<void()>& ready);
  HugePageCopy(const HugePageCopy&) = delete;
  HugePageCopy& operator=(const HugePageCopy&) = delete;
  /// Stops after the parts that are being copied.
  ~HugePageCopy();

  /// Waits until nothing is left to copy. Whether all bytes lie in copies now.
  [[nodiscard]] bool wait() const;

 private:
  void copy_parts();

  std::span<std::byte> place_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<bool> stopped_ = false;       // by the destructor, or as a part could not be moved
  std::vector<std::future<void>> threads_;  // last: they end before what they use does
};

}  // namespace kvcache::ops
