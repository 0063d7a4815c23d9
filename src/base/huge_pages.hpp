// Pages of 2 MiB, which miss the translation buffer less often than those of 4 KiB.
#pragma once

#include <sys/mman.h>

#include <cstddef>

namespace kvcache {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// A hint for memory that is not there yet, or for a file that is not in the system's cache.
inline void ask_for_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#ifdef MADV_HUGEPAGE
  ::madvise(data, bytes, MADV_HUGEPAGE);
#endif
}

}  // namespace kvcache
