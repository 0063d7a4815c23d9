#include "ops/huge_page_copy.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "huge_pages.hpp"

namespace kvcache::ops {
namespace {

constexpr std::size_t kPart = 2 * kHugePage;  // in memory twice, for each thread

/// Unmaps the end of a mapping that begins at `begin`.
void unmap(std::byte* begin, std::byte* end) {
  if (begin != end) {
    ::munmap(begin, static_cast<std::size_t>(end - begin));
  }
}

/// New addresses at a multiple of 2 MiB, for memory in huge pages; null where there are none.
std::byte* new_part(std::size_t bytes) {
  const std::size_t space = bytes + kHugePage;
  void* mapped = ::mmap(nullptr, space, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    return nullptr;
  }
  auto* begin = static_cast<std::byte*>(mapped);
  const std::size_t over = reinterpret_cast<std::uintptr_t>(begin) % kHugePage;
  std::byte* part = begin + (over == 0 ? 0 : kHugePage - over);
  unmap(begin, part);
  unmap(part + bytes, begin + space);
  ask_for_huge_pages(part, bytes);
  return part;
}

/// Puts the pages at `copy` in the place of others: whether that was done.
bool move_pages([[maybe_unused]] std::byte* copy, [[maybe_unused]] std::size_t bytes,
                [[maybe_unused]] std::byte* place) {
#ifdef MREMAP_FIXED
  return ::mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place) != MAP_FAILED;
#else
  return false;
#endif
}

/// The same for one part.
bool copy_part(std::span<std::byte> part) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t bytes = (part.size() + page - 1) / page * page;
  std::byte* copy = new_part(bytes);
  if (copy == nullptr) {
    return false;
  }
  std::memcpy(copy, part.data(), part.size());
  if (!move_pages(copy, bytes, part.data())) {
    unmap(copy, copy + bytes);
    return false;
  }
  return true;
}

}  // namespace

HugePageCopy::HugePageCopy(std::span<std::byte> place, int num_threads,
                           const std::function<void()>& ready)
    : place_(place) {
  const std::size_t parts = (place.size() + kPart - 1) / kPart;
  const std::size_t threads = std::min(static_cast<std::size_t>(num_threads), parts);
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.push_back(std::async(std::launch::async, [this, ready] {
      ready();
      copy_parts();
    }));
  }
}

HugePageCopy::~HugePageCopy() { stopped_ = true; }

bool HugePageCopy::wait() const {
  for (const std::future<void>& thread : threads_) {
    thread.wait();
  }
  return !stopped_;
}

void HugePageCopy::copy_parts() {
  while (!stopped_) {
    const std::size_t at = next_.fetch_add(kPart);
    if (at >= place_.size()) {
      return;
    }
    if (!copy_part(place_.subspan(at, std::min(kPart, place_.size() - at)))) {
      stopped_ = true;
    }
  }
}

}  // namespace kvcache::ops
