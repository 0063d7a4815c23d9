#include "ops/weight_store.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <new>
#include <sstream>
#include <string>

namespace kvcache::ops {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kRegionBytes = std::size_t{64} << 20;  // many weights share a region
constexpr std::size_t kAlignment = 64;                       // a cache line

std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Whether [begin, end) lies in a mapped file; anonymous memory would lose its contents when let
/// go.
bool is_mapped_file(std::uintptr_t begin, std::uintptr_t end) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    // begin-end permissions offset device inode path
    std::istringstream fields(line);
    std::uintptr_t map_begin = 0;
    std::uintptr_t map_end = 0;
    char dash = 0;
    std::string permissions;
    std::string offset;
    std::string device;
    std::uint64_t inode = 0;
    fields >> std::hex >> map_begin >> dash >> map_end >> permissions >> offset >> device >>
        std::dec >> inode;
    if (map_begin <= begin && end <= map_end) {
      return inode != 0;
    }
  }
  return false;
}

/// Takes the pages of a mapped file out of this process; they stay in the system's cache.
void let_go_of_file_pages(const std::byte* data, std::size_t bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t into_page = reinterpret_cast<std::uintptr_t>(data) % page;
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(data) - into_page;
  if (is_mapped_file(begin, begin + into_page + bytes)) {
    std::byte* first = const_cast<std::byte*>(data) - into_page;
    ::madvise(first, into_page + bytes, MADV_DONTNEED);
  }
}

}  // namespace

struct WeightStore::Region {
  explicit Region(std::size_t bytes)
      : size(round_up(bytes, kHugePage)), mapping_size(size + kHugePage) {
    mapping = ::mmap(nullptr, mapping_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
      throw std::bad_alloc();
    }
    void* aligned = mapping;
    std::size_t space = mapping_size;
    data = static_cast<std::byte*>(std::align(kHugePage, size, aligned, space));
#ifdef MADV_HUGEPAGE
    ::madvise(data, size, MADV_HUGEPAGE);  // a hint
#endif
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region() { ::munmap(mapping, mapping_size); }

  std::size_t size;
  std::size_t mapping_size;
  void* mapping = nullptr;
  std::byte* data = nullptr;
  std::size_t used = 0;
};

WeightStore::WeightStore() = default;
WeightStore::~WeightStore() = default;

const void* WeightStore::keep(const void* weights, std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (const auto found = copies_.find(weights); found != copies_.end()) {
    return found->second;
  }
  if (regions_.empty() || regions_.back()->size - regions_.back()->used < bytes) {
    regions_.push_back(std::make_unique<Region>(std::max(bytes, kRegionBytes)));
  }
  Region& region = *regions_.back();
  std::byte* copy = region.data + region.used;
  region.used += round_up(bytes, kAlignment);
  // In parts, so that never more than one part is in memory twice.
  constexpr std::size_t kPart = std::size_t{4} << 20;
  for (std::size_t done = 0; done < bytes; done += kPart) {
    const std::size_t part = std::min(kPart, bytes - done);
    const std::byte* from = static_cast<const std::byte*>(weights) + done;
    std::memcpy(copy + done, from, part);
    let_go_of_file_pages(from, part);
  }
  return copies_[weights] = copy;
}

}  // namespace kvcache::ops
