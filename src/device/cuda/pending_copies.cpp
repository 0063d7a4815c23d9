#include "device/cuda/pending_copies.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace kvcache::device {
namespace {

bool overlap(std::size_t a, std::size_t a_bytes, std::size_t b, std::size_t b_bytes) noexcept {
  return a < b + b_bytes && b < a + a_bytes;
}

}  // namespace

/// Pieces are all as far apart as the first of them: a cache has one layout of blocks.
bool PendingCopies::Group::precedes(const kernels::PieceCopy& copy) const noexcept {
  return std::ranges::any_of(copies, [&](const kernels::PieceCopy& other) {
    return overlap(other.to, other.bytes, copy.from, copy.bytes) ||
           overlap(other.to, other.bytes, copy.to, copy.bytes) ||
           overlap(other.from, other.bytes, copy.to, copy.bytes);
  });
}

void PendingCopies::add(std::size_t to, std::size_t from, const Pieces& pieces) {
  const kernels::PieceCopy copy{to, from, pieces.bytes};
  const kernels::PieceLayout layout = layout_of(pieces);
  const std::scoped_lock lock(mutex_);
  // Into the first group behind all that must come before it.
  std::size_t first = groups_.size();
  while (first > 0 && !groups_[first - 1].precedes(copy)) {
    --first;
  }
  const auto found =
      std::find_if(groups_.begin() + static_cast<std::ptrdiff_t>(first), groups_.end(),
                   [&](const Group& group) { return group.has_room_for(layout); });
  Group& group = found != groups_.end() ? *found : groups_.emplace_back(Group{layout, {}});
  group.copies.push_back(copy);
}

void PendingCopies::put_in(std::byte* memory, cudaStream_t stream) noexcept {
  std::vector<Group> groups;
  {
    const std::scoped_lock lock(mutex_);
    groups.swap(groups_);
  }
  // Groups of one layout are turns of one launch, as long as it has room.
  std::array<kernels::PieceCopy, kernels::kMostCopies> listed;
  std::size_t count = 0;
  for (std::size_t turn = 0; turn < groups.size(); ++turn) {
    const Group& group = groups[turn];
    for (const kernels::PieceCopy& copy : group.copies) {
      listed[count] = copy;
      listed[count++].turn = static_cast<unsigned>(turn);
      const bool is_last = &copy == &group.copies.back();
      const bool continues =
          !is_last || (turn + 1 < groups.size() && groups[turn + 1].layout == group.layout);
      if (count == listed.size() || !continues) {
        static_cast<void>(
            kernels::copy_pieces(memory, std::span(listed).first(count), group.layout, stream));
        count = 0;
      }
    }
  }
}

}  // namespace kvcache::device
