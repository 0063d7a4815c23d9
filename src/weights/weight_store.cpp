#include "weights/weight_store.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>

#include "base/huge_pages.hpp"
#include "base/rounding.hpp"
#include "base/throw_error.hpp"

namespace kvcache::weights {
namespace {

constexpr std::size_t kRegionBytes = std::size_t{64} << 20;  // many weights share a region
constexpr std::size_t kAlignment = 64;                       // a cache line

std::size_t page_size() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

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

std::optional<WeightStore::InFile> WeightStore::find(const void* weights, std::size_t bytes) {
  if (files_.empty()) {
    return std::nullopt;
  }
  std::optional<FilePlace> place = map_ ? map_->file_at(weights) : std::nullopt;
  if (!place) {
    map_.emplace();  // it may have been mapped since
    place = map_->file_at(weights);
  }
  if (!place) {
    return std::nullopt;
  }
  for (const WeightFile* file : files_) {
    const std::size_t size = file->bytes().size();
    if (place->file == file->file() && bytes <= size && place->offset <= size - bytes) {
      return InFile{file, place->offset};
    }
  }
  throw_error(ErrorCode::digest_mismatch,
              "a file of weights was replaced while the model was loaded; load it again");
}

const void* WeightStore::keep(const void* weights, std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (const auto place = find(weights, bytes)) {
    return place->file->bytes().data() + place->offset;
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

void WeightStore::read_in_place(const void* weights, std::size_t bytes) {
  if (bytes == 0) {
    return;
  }
  const std::scoped_lock lock(mutex_);
  const auto place = find(weights, bytes);
  if (!place) {
    return;
  }
  // A mapping's pages are those of its file.
  const std::size_t before = place->offset % page_size();
  auto* page = static_cast<std::byte*>(const_cast<void*>(weights)) - before;
  in_place_[page] = {{place->file, place->offset - before}, before + bytes};
}

std::vector<MappedPlace> WeightStore::places_read(const WeightFile& file) const {
  const std::scoped_lock lock(mutex_);
  std::vector<MappedPlace> places;
  for (const auto& [page, found] : in_place_) {
    const auto& [in_file, bytes] = found;
    if (in_file.file == &file) {
      // Whole pages: what is exchanged.
      const std::size_t whole =
          std::min(round_up(bytes, page_size()), file.bytes().size() - in_file.offset);
      places.push_back({{page, whole}, file.bytes().data() + in_file.offset});
    }
  }
  return places;
}

}  // namespace kvcache::weights
