#include "device/reserved_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "throw_error.hpp"

namespace kvcache::device {
namespace {

std::size_t page_size() {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
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
#ifdef MADV_HUGEPAGE
  // Fewer TLB misses while attention streams through the cache; only a hint.
  ::madvise(address, bytes, MADV_HUGEPAGE);
#endif
}

ReservedMemory::ReservedMemory(ReservedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

ReservedMemory& ReservedMemory::operator=(ReservedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

ReservedMemory::~ReservedMemory() {
  if (data_ != nullptr) {
    ::munmap(data_, bytes_);
  }
}

void ReservedMemory::commit(std::size_t begin, std::size_t end) {
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

}  // namespace kvcache::device
