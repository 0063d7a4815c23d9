#include "support/faults.hpp"

#include <dlfcn.h>
#include <execinfo.h>
#include <hwy/aligned_allocator.h>
#include <link.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "base/device_memory_fault.hpp"

namespace kvcache::test {
namespace {

constexpr int kNone = -1;
std::atomic<int> armed{kNone};
std::atomic<std::uint64_t> counted{0};
std::atomic<std::uint64_t> failing{0};

bool should_fail(Faulty kind) noexcept {
  return armed.load(std::memory_order_relaxed) == static_cast<int>(kind) &&
         counted.fetch_add(1) + 1 == failing.load();
}

/// Where the code of a loaded library lies.
struct Range {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;

  [[nodiscard]] bool holds(const void* address) const noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return at >= begin && at < end;
  }
};

/// This program's own, and the standard library's.
struct Ranges {
  Range program;
  Range standard;
};

int note_range(dl_phdr_info* info, std::size_t /*size*/, void* data) {
  auto& ranges = *static_cast<Ranges*>(data);
  Range range{~std::uintptr_t{0}, 0};
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type == PT_LOAD) {
      const std::uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
      range.begin = range.begin < begin ? range.begin : begin;
      const std::uintptr_t end = begin + info->dlpi_phdr[i].p_memsz;
      range.end = range.end > end ? range.end : end;
    }
  }
  if (info->dlpi_name[0] == '\0' || std::strstr(info->dlpi_name, "libkvcache") != nullptr) {
    ranges.program.begin = ranges.program.end == 0 ? range.begin : ranges.program.begin;
    ranges.program.end = range.end;
  } else if (std::strstr(info->dlpi_name, "libstdc++") != nullptr) {
    ranges.standard = range;
  }
  return 0;
}

Ranges ranges;

enum class Code : std::uint8_t { other, standard, json_destructor };

/// What a frame of this program is of. Templates of the standard library are, where this program
/// has an instance of them, everybody's. nlohmann::json's destructor makes a list of what it
/// destroys and ends the process where there is no memory for that.
Code code_of(const void* frame) noexcept {
  struct Known {
    const void* frame = nullptr;
    Code code = Code::other;
  };
  thread_local std::array<Known, 1024> known;  // names are slow to find
  Known& place = known.at(reinterpret_cast<std::uintptr_t>(frame) % known.size());
  if (place.frame != frame) {
    Dl_info info{};
    place = {frame, Code::other};
    if (::dladdr(frame, &info) != 0 && info.dli_sname != nullptr) {
      const std::string_view name = info.dli_sname;
      if (name.find("json_value7destroy") != std::string_view::npos) {
        place.code = Code::json_destructor;
      } else if (name.starts_with("_ZNSt") || name.starts_with("_ZNKSt") ||
                 name.starts_with("_ZSt")) {
        place.code = Code::standard;
      }
    }
  }
  return place.code;
}

/// Whether code of this program asked for memory, from where `caller` is, that may be refused.
bool is_ours(const void* caller) noexcept {
  if (!ranges.standard.holds(caller) && !ranges.program.holds(caller)) {
    return false;
  }
  std::array<void*, 24> frames{};
  const int depth = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  bool reached = false;
  bool ours = false;
  for (int i = 0; i < depth; ++i) {
    const void* const frame = frames.at(static_cast<std::size_t>(i));
    reached = reached || frame == caller;
    if (!reached || ranges.standard.holds(frame)) {
      continue;
    }
    if (!ours && !ranges.program.holds(frame)) {
      return false;  // the standard library's, on behalf of somebody else
    }
    const Code code = code_of(frame);
    if (code == Code::json_destructor) {
      return false;
    }
    ours = ours || code == Code::other;
  }
  return ours;
}

[[maybe_unused]] bool allocation_fails(const void* caller) noexcept {
  return armed.load(std::memory_order_relaxed) == static_cast<int>(Faulty::allocation) &&
         is_ours(caller) && should_fail(Faulty::allocation);
}

[[maybe_unused]] void* allocate(std::size_t size, std::size_t alignment,
                                const void* caller) noexcept {
  if (allocation_fails(caller)) {
    return nullptr;
  }
  const std::size_t wanted = size == 0 ? 1 : size;
  return alignment <= alignof(std::max_align_t)
             ? std::malloc(wanted)
             : std::aligned_alloc(alignment, (wanted + alignment - 1) / alignment * alignment);
}

[[maybe_unused]] void* allocate_or_throw(std::size_t size, std::size_t alignment,
                                         const void* caller) {
  void* const memory = allocate(size, alignment, caller);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}

/// Whether code that `caller` is of may be refused what it asks of the system. A GPU's driver may
/// not: it maps memory and opens files hundreds of times while a model is loaded, and what it then
/// makes of an error is not ours to say. Its memory fails through device_memory_fault.
[[maybe_unused]] bool call_fails(Faulty kind, const void* caller) noexcept {
  if (armed.load(std::memory_order_relaxed) != static_cast<int>(kind)) {
    return false;
  }
  Dl_info info{};
  if (::dladdr(caller, &info) != 0 && info.dli_fname != nullptr &&
      (std::strstr(info.dli_fname, "libcuda.so") != nullptr ||
       std::strstr(info.dli_fname, "libnvidia-") != nullptr)) {
    return false;
  }
  return should_fail(kind);
}

/// The function of this name that was taken from under the others.
template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

Fault::Fault(Faulty kind, std::uint64_t n) noexcept {
  if (ranges.program.end == 0) {
    ::dl_iterate_phdr(&note_range, &ranges);
    std::array<void*, 1> frame{};
    ::backtrace(frame.data(), 1);  // loads what it needs
  }
  kvcache::device_memory_fault = +[]() noexcept { return should_fail(Faulty::memory); };
  counted = 0;
  failing = n;
  armed = static_cast<int>(kind);
}

Fault::~Fault() { armed = kNone; }

std::uint64_t Fault::calls() noexcept { return counted; }

}  // namespace kvcache::test

#ifndef __SANITIZE_THREAD__

using kvcache::test::Faulty;

// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name, misc-no-recursion)

#define KVCACHE_CALLER __builtin_return_address(0)

void* operator new(std::size_t size) {
  return kvcache::test::allocate_or_throw(size, 1, KVCACHE_CALLER);
}
void* operator new[](std::size_t size) {
  return kvcache::test::allocate_or_throw(size, 1, KVCACHE_CALLER);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return kvcache::test::allocate_or_throw(size, static_cast<std::size_t>(alignment),
                                          KVCACHE_CALLER);
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return kvcache::test::allocate_or_throw(size, static_cast<std::size_t>(alignment),
                                          KVCACHE_CALLER);
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return kvcache::test::allocate(size, 1, KVCACHE_CALLER);
}
void* operator new[](std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return kvcache::test::allocate(size, 1, KVCACHE_CALLER);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace hwy {

void* AllocateAlignedBytes(std::size_t size, AllocPtr allocate, void* opaque) {
  static auto* const next = reinterpret_cast<void* (*)(std::size_t, AllocPtr, void*)>(
      ::dlsym(RTLD_NEXT, "_ZN3hwy20AllocateAlignedBytesEmPFPvS0_mES0_"));
  return kvcache::test::allocation_fails(KVCACHE_CALLER) ? nullptr : next(size, allocate, opaque);
}

}  // namespace hwy

/// Defines a function of the C library that fails with `error` when it is its turn.
#define KVCACHE_FAULTY(kind, error, failed, result, name, parameters, arguments) \
  extern "C" result name parameters {                                            \
    static auto* const next = kvcache::test::real<result parameters>(#name);     \
    if (kvcache::test::call_fails(Faulty::kind, KVCACHE_CALLER)) {               \
      errno = error;                                                             \
      return failed;                                                             \
    }                                                                            \
    return next arguments;                                                       \
  }

#define KVCACHE_FAULTY_OPEN(name)                                                             \
  extern "C" int name(const char* path, int flags, ...) {                                     \
    static auto* const next = kvcache::test::real<int(const char*, int, ...)>(#name);         \
    va_list more;                                                                             \
    va_start(more, flags);                                                                    \
    const unsigned mode = va_arg(more, unsigned); /* or what lies there, which is not used */ \
    va_end(more);                                                                             \
    if (kvcache::test::call_fails(Faulty::file, KVCACHE_CALLER)) {                            \
      errno = EMFILE;                                                                         \
      return -1;                                                                              \
    }                                                                                         \
    return next(path, flags, mode);                                                           \
  }

struct stat;
using FilePointer = struct _IO_FILE*;

KVCACHE_FAULTY_OPEN(open)
KVCACHE_FAULTY_OPEN(open64)
KVCACHE_FAULTY(file, EMFILE, nullptr, FilePointer, fopen, (const char* path, const char* mode),
               (path, mode))
KVCACHE_FAULTY(file, EMFILE, nullptr, FilePointer, fopen64, (const char* path, const char* mode),
               (path, mode))
KVCACHE_FAULTY(file, EIO, -1, ssize_t, read, (int file, void* to, std::size_t size),
               (file, to, size))
KVCACHE_FAULTY(file, ENOSPC, -1, ssize_t, write, (int file, const void* from, std::size_t size),
               (file, from, size))
KVCACHE_FAULTY(file, ENOSPC, -1, ssize_t, writev, (int file, const struct iovec* pieces, int count),
               (file, pieces, count))
KVCACHE_FAULTY(file, EIO, -1, int, fsync, (int file), (file))
KVCACHE_FAULTY(file, EIO, -1, int, fdatasync, (int file), (file))
KVCACHE_FAULTY(file, ENOSPC, -1, int, rename, (const char* from, const char* to) noexcept,
               (from, to))
KVCACHE_FAULTY(file, ENOSPC, -1, int, linkat,
               (int from_at, const char* from, int to_at, const char* to, int flags) noexcept,
               (from_at, from, to_at, to, flags))
KVCACHE_FAULTY(file, EIO, -1, int, fstat, (int file, struct stat* to) noexcept, (file, to))
KVCACHE_FAULTY(file, ENOSPC, -1, int, mkstemp, (char* pattern), (pattern))
KVCACHE_FAULTY(memory, ENOMEM, MAP_FAILED, void*, mmap,
               (void* at, std::size_t size, int protection, int flags, int file,
                long offset) noexcept,
               (at, size, protection, flags, file, offset))
KVCACHE_FAULTY(thread, EAGAIN, EAGAIN, int, pthread_create,
               (pthread_t * thread, const pthread_attr_t* attributes, void* (*start)(void*),
                void* argument) noexcept,
               (thread, attributes, start, argument))

extern "C" int madvise(void* at, std::size_t size, int advice) noexcept {
  static auto* const next = kvcache::test::real<int(void*, std::size_t, int)>("madvise");
#ifdef MADV_POPULATE_WRITE
  if (advice == MADV_POPULATE_WRITE && kvcache::test::call_fails(Faulty::memory, KVCACHE_CALLER)) {
    errno = ENOMEM;
    return -1;
  }
#endif
  return next(at, size, advice);
}

// NOLINTEND(readability-inconsistent-declaration-parameter-name, misc-no-recursion)

#endif  // __SANITIZE_THREAD__
