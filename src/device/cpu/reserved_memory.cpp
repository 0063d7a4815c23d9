#include "device/cpu/reserved_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/huge_pages.hpp"
#include "base/throw_error.hpp"

namespace kvcache::device {
namespace {

std::size_t page_size() {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

/// Asks for huge pages where they are needed as a whole. A cache has two pools a layer, and a page
/// of 2 MiB at the end of each would be more than a short sequence takes.
void ask_for_whole_huge_pages(std::byte* begin, std::byte* end) {
  void* first = begin;
  auto space = static_cast<std::size_t>(end - begin);
  if (std::align(kHugePage, kHugePage, first, space) != nullptr) {
    ask_for_huge_pages(first, space / kHugePage * kHugePage);
  }
}

}  // namespace

ReservedMemory::ReservedMemory(std::size_t bytes) : bytes_(bytes) {
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    throw_error(ErrorCode::out_of_memory,
                "cannot reserve {} bytes of address space for the cache ({}); give a smaller "
                "cache_bytes",
                bytes, std::strerror(errno));
  }
  data_ = static_cast<std::byte*>(address);
}

ReservedMemory::~ReservedMemory() { ::munmap(data_, bytes_); }

void ReservedMemory::commit(std::size_t begin, std::size_t end) {
  ask_for_whole_huge_pages(data_ + begin, data_ + end);
#ifdef MADV_POPULATE_WRITE
  const std::size_t first = begin / page_size() * page_size();
  // Kernels before 5.14 do not know it: pages then arrive at first use, which is slower but right.
  if (::madvise(data_ + first, end - first, MADV_POPULATE_WRITE) != 0 && errno == ENOMEM) {
    throw_error(ErrorCode::out_of_memory,
                "the system has no memory for {} more bytes of cache; free memory or give a "
                "smaller cache_bytes",
                end - begin);
  }
#endif
}

void ReservedMemory::decommit(std::size_t begin, std::size_t end) noexcept {
  const std::size_t first = (begin + page_size() - 1) / page_size() * page_size();
  const std::size_t last = end / page_size() * page_size();
  if (first < last) {
    ::madvise(data_ + first, last - first, MADV_DONTNEED);
  }
}

void ReservedMemory::copy(std::size_t to, std::size_t from, const Pieces& pieces) noexcept {
  for (std::size_t pool = 0; pool < pieces.pools; ++pool) {
    for (std::size_t i = 0; i < pieces.count; ++i) {
      const std::size_t at = pool * pieces.pool_stride + i * pieces.stride;
      std::memcpy(data_ + to + at, data_ + from + at, pieces.bytes);
    }
  }
}

void ReservedMemory::fill_with_nan(std::size_t at, const Pieces& pieces) noexcept {
  for (std::size_t pool = 0; pool < pieces.pools; ++pool) {
    for (std::size_t i = 0; i < pieces.count; ++i) {
      std::memset(data_ + at + pool * pieces.pool_stride + i * pieces.stride, 0xFF, pieces.bytes);
    }
  }
}

void ReservedMemory::read(std::size_t from, std::byte* to, std::size_t bytes) {
  std::memcpy(to, data_ + from, bytes);
}

void ReservedMemory::write(std::size_t to, const std::byte* from, std::size_t bytes) {
  std::memcpy(data_ + to, from, bytes);
}

}  // namespace kvcache::device
