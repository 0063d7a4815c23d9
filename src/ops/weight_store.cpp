#include "ops/weight_store.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>

#include "huge_pages.hpp"
#include "ops/memory_map.hpp"

namespace kvcache::ops {
namespace {

constexpr std::size_t kRegionBytes = std::size_t{64} << 20;  // many weights share a region
constexpr std::size_t kAlignment = 64;                       // a cache line

std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
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
    ask_for_huge_pages(data, size);
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

void WeightStore::read_from(const WeightFile& file) {
  const std::scoped_lock lock(mutex_);
  files_.push_back(&file);
}

const void* WeightStore::keep(const void* weights, std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (const auto place = files_.empty() ? std::nullopt : file_at(weights)) {
    for (const WeightFile* file : files_) {
      const std::size_t size = file->bytes().size();
      if (place->file == file->file() && bytes <= size && place->offset <= size - bytes) {
        return file->bytes().data() + place->offset;
      }
    }
  }
  if (const auto found = copies_.find(weights); found != copies_.end()) {
    return found->second;
  }
  if (regions_.empty() || regions_.back()->size - regions_.back()->used < bytes) {
    regions_.push_back(std::make_unique<Region>(std::max(bytes, kRegionBytes)));
  }
  Region& region = *regions_.back();
  std::byte* copy = region.data + region.used;
  region.used += round_up(bytes, kAlignment);
  std::memcpy(copy, weights, bytes);
  return copies_[weights] = copy;
}

}  // namespace kvcache::ops
