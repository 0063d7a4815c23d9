// Moves read-only memory into the process's own while it is in use.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <future>
#include <span>
#include <vector>

namespace kvcache {

/// Mapped bytes, from the beginning of a page on, and where to copy them from: themselves, or
/// memory that holds the same.
struct MappedPlace {
  std::span<std::byte> place;
  const std::byte* source;
};

/// Copies mapped bytes into memory of the process's own, part by part, and puts each copy in the
/// place of its part: in huge pages where the place begins at a multiple of 2 MiB. Addresses stay;
/// whoever reads meanwhile waits, at most, for the system to exchange a part.
///
/// Linux exchanges them in one call, mremap(2) with MREMAP_FIXED: it unmaps the place and moves the
/// copy's page tables there under one lock, which a page fault in between has to wait for. What it
/// may refuse, it refuses before; the bytes then stay where they are, as on systems without it.
class HugePageCopy {
 public:
  /// Begins to copy `places`, which nobody writes to, with `num_threads` threads, each after it has
  /// called `ready`. The one that is last calls `finished`, saying whether all were moved.
  /// @throws std::system_error when there is not even one thread
  HugePageCopy(std::span<const MappedPlace> places, int num_threads, std::function<void()> ready,
               std::function<void(bool all)> finished);
  HugePageCopy(const HugePageCopy&) = delete;
  HugePageCopy& operator=(const HugePageCopy&) = delete;
  /// Stops after the parts that are being copied.
  ~HugePageCopy();

  /// Waits until nothing is left to copy. Whether all bytes lie in copies now.
  [[nodiscard]] bool wait() const;

 private:
  void copy_parts();

  std::vector<MappedPlace> parts_;
  std::function<void()> ready_;
  std::function<void(bool all)> finished_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<std::size_t> moved_ = 0;
  std::atomic<std::size_t> running_ = 0;
  std::atomic<bool> stopped_ = false;       // by the destructor, or as a part could not be moved
  std::vector<std::future<void>> threads_;  // last: they end before what they use does
};

}  // namespace kvcache
