#include "weights/weight_pages.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

#include "base/huge_pages.hpp"
#include "base/throw_error.hpp"

namespace kvcache::weights {
namespace {

constexpr std::size_t kPart = std::size_t{16} << 20;  // mapped: entered at once
constexpr std::size_t kReadPart = 2 * kHugePage;

/// Enters pages in the page table, where the system can do that at once.
void enter_pages([[maybe_unused]] std::byte* data, [[maybe_unused]] std::size_t bytes) {
#ifdef MADV_POPULATE_READ
  ::madvise(data, bytes, MADV_POPULATE_READ);
#endif
}

}  // namespace

OpenFile::OpenFile(const std::filesystem::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)) {
  struct stat status {};
  int reason = descriptor_ < 0 || ::fstat(descriptor_, &status) != 0 ? errno : 0;
  if (reason == 0 && !S_ISREG(status.st_mode)) {
    reason = S_ISDIR(status.st_mode) ? EISDIR : ESPIPE;
  }
  if (reason == 0) {
    size_ = static_cast<std::size_t>(status.st_size);
    return;
  }
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
  if (reason == EMFILE || reason == ENFILE) {
    throw std::system_error(reason, std::generic_category(), path.string());
  }
  throw_error(ErrorCode::model_not_found, "cannot read {}: {}", path.string(),
              std::generic_category().message(reason));
}

OpenFile::~OpenFile() { ::close(descriptor_); }

void WeightPages::Unmap::operator()(void* addresses) const noexcept { ::munmap(addresses, size); }

WeightPages::WeightPages(const OpenFile& file, Way way, int num_threads)
    : file_(file),
      way_(way),
      parts_((file.size() + (way == Way::map ? kPart : kReadPart) - 1) /
             (way == Way::map ? kPart : kReadPart)) {
  if (file.size() == 0) {
    return;
  }
  reserve();
  const auto threads = way == Way::map ? 1 : std::min<std::size_t>(parts_.size(), num_threads);
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.push_back(std::async(std::launch::async, [this] { bring_parts(); }));
  }
}

WeightPages::~WeightPages() { stopped_ = true; }

void WeightPages::reserve() {
  std::size_t space = file_.size() + 2 * kHugePage;
  void* addresses =
      ::mmap(nullptr, space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (addresses == MAP_FAILED) {
    throw std::bad_alloc();
  }
  addresses_ = {addresses, Unmap{space}};
  auto* data = static_cast<std::byte*>(std::align(kHugePage, file_.size(), addresses, space));
  bytes_ = {data, file_.size()};
  const bool made = way_ == Way::map
                        ? ::mmap(data, file_.size(), PROT_READ, MAP_PRIVATE | MAP_FIXED,
                                 file_.descriptor(), 0) != MAP_FAILED
                        : ::mprotect(data, file_.size(), PROT_READ | PROT_WRITE) == 0;
  if (!made) {
    throw std::bad_alloc();
  }
  ask_for_huge_pages(data, file_.size());  // mapped: of what is not in the system's cache yet
}

void WeightPages::wait(std::size_t end) const {
  const std::size_t part_bytes = way_ == Way::map ? kPart : kReadPart;
  for (std::size_t i = 0; i < parts_.size() && i * part_bytes < end; ++i) {
    parts_[i].wait(Part::awaited);
    if (parts_[i] == Part::failed) {
      throw_error(ErrorCode::digest_mismatch, "{} could not be read whole: {}; load it again",
                  file_.path().string(),
                  failure_ == 0 ? "it became shorter meanwhile"
                                : std::generic_category().message(failure_));
    }
  }
}

void WeightPages::bring_parts() {
  const std::size_t part_bytes = way_ == Way::map ? kPart : kReadPart;
  for (std::size_t i = next_++; i < parts_.size(); i = next_++) {
    const std::size_t at = i * part_bytes;
    parts_[i] = stopped_ ? Part::failed
                         : bring(bytes_.subspan(at, std::min(part_bytes, bytes_.size() - at)), at);
    parts_[i].notify_all();
  }
}

WeightPages::Part WeightPages::bring(std::span<std::byte> part, std::size_t offset) {
  if (way_ == Way::map) {
    enter_pages(part.data(), part.size());
    return Part::there;
  }
  while (!part.empty()) {
    const ssize_t count =
        ::pread(file_.descriptor(), part.data(), part.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      failure_ = count < 0 ? errno : 0;
      return Part::failed;
    }
    part = part.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::size_t>(count);
  }
  // A file that is cut off ends in zeros before it is short: a read meanwhile may have brought them
  // in place of what was there. Its size says so by then.
  struct stat now {};
  if (::fstat(file_.descriptor(), &now) != 0 ||
      static_cast<std::size_t>(now.st_size) < file_.size()) {
    failure_ = 0;
    return Part::failed;
  }
  return Part::there;
}

}  // namespace kvcache::weights
