// Makes what the library asks of the system fail: the n-th allocation, file operation, piece of
// memory or thread.
//
// The test program defines operator new, Highway's allocator and functions of the C library, which
// takes them from under every library that it loads.
#pragma once

#include <cstdint>

namespace kvcache::test {

/// The thread sanitiser calls the same functions before it can bear theirs to be taken.
#ifdef __SANITIZE_THREAD__
constexpr bool kFaultsCanBeInjected = false;
#else
constexpr bool kFaultsCanBeInjected = true;
#endif

/// What can fail. Allocations are those that code of this program makes, also by way of the
/// standard library; ONNX Runtime's own are left alone.
enum class Faulty {
  allocation,  // operator new, hwy::AllocateAligned; but those of nlohmann::json's destructor
  file,        // open, read, write, fsync, rename, link, fstat, ftruncate and their like
  memory,      // mmap; madvise that asks for pages now; a GPU's
  thread       // pthread_create
};

/// As long as it lives, calls of one kind are counted, in all threads, and the n-th fails; 0: none.
/// One at a time.
class Fault {
 public:
  Fault(Faulty kind, std::uint64_t n) noexcept;
  ~Fault();
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;

  /// Calls until now.
  [[nodiscard]] static std::uint64_t calls() noexcept;
};

}  // namespace kvcache::test
