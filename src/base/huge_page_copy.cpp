#include "base/huge_page_copy.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/huge_pages.hpp"
#include "base/rounding.hpp"

namespace kvcache {
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
bool copy_part(const MappedPlace& part) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t bytes = round_up(part.place.size(), page);
  std::byte* copy = new_part(bytes);
  if (copy == nullptr) {
    return false;
  }
  std::memcpy(copy, part.source, part.place.size());
  if (!move_pages(copy, bytes, part.place.data())) {
    unmap(copy, copy + bytes);
    return false;
  }
  return true;
}

}  // namespace

HugePageCopy::HugePageCopy(std::span<const MappedPlace> places, int num_threads,
                           std::function<void()> ready, std::function<void(bool all)> finished)
    : ready_(std::move(ready)), finished_(std::move(finished)) {
  for (const MappedPlace& place : places) {
    for (std::size_t at = 0; at < place.place.size(); at += kPart) {
      parts_.push_back(
          {place.place.subspan(at, std::min(kPart, place.place.size() - at)), place.source + at});
    }
  }
  const auto count =
      std::clamp<std::size_t>(parts_.size(), 1, static_cast<std::size_t>(num_threads));
  threads_.reserve(count);
  running_ = count;
  for (std::size_t i = 0; i < count; ++i) {
    try {
      threads_.push_back(std::async(std::launch::async, [this] { copy_parts(); }));
    } catch (const std::system_error&) {
      if (threads_.empty()) {
        throw;
      }
      if ((running_ -= count - i) == 0) {
        finished_(moved_ == parts_.size());
      }
      break;  // those that are there do it
    }
  }
}

HugePageCopy::~HugePageCopy() { stopped_ = true; }

bool HugePageCopy::wait() const {
  for (const std::future<void>& thread : threads_) {
    thread.wait();
  }
  return moved_ == parts_.size();
}

void HugePageCopy::copy_parts() {
  ready_();
  while (!stopped_) {
    const std::size_t part = next_.fetch_add(1);
    if (part >= parts_.size()) {
      break;
    }
    if (copy_part(parts_[part])) {
      ++moved_;
    } else {
      stopped_ = true;
    }
  }
  if (--running_ == 0) {
    finished_(moved_ == parts_.size());
  }
}

}  // namespace kvcache
