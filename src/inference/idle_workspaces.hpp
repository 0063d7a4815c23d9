// Workspaces that nobody uses, kept for runs to come.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace kvcache::inference {

/// Up to so many bytes of logits, by far the largest of their buffers; the ones that have been
/// unused the longest go when there is no room. A template so that tests need no model.
/// Thread-safe.
template <class Workspace>
class IdleWorkspaces {
 public:
  static constexpr std::size_t kMost = 144;

  /// With so many of its kind, with the cache or without, a run of a new shape gets one of those.
  /// With fewer it gets one of its own, and the others keep what they have bound and captured. A
  /// GPU's runs are filled up to 31 sizes of prompts, as many of batches, and some of trees.
  static constexpr std::size_t kShapesKept = 96;

  explicit IdleWorkspaces(std::size_t most_bytes) : most_bytes_(most_bytes) {
    idle_.reserve(kMost);  // put() must not allocate
  }

  /// One that was used for this shape, else one that is to be used for it, or null: then the run
  /// needs a new one.
  std::unique_ptr<Workspace> take(auto cache_use, const auto& shape) {
    const std::scoped_lock lock(mutex_);
    const auto is_of_kind = [&](const auto& one) { return one->cache_use() == cache_use; };
    // The latest: its memory may be in a cache still.
    const auto same = std::find_if(idle_.rbegin(), idle_.rend(), [&](const auto& one) {
      return is_of_kind(one) && one->shape() == shape;
    });
    if (same != idle_.rend()) {
      return take_out(std::prev(same.base()));
    }
    const auto of_kind = std::ranges::count_if(idle_, is_of_kind);
    return static_cast<std::size_t>(of_kind) < kShapesKept
               ? nullptr
               : take_out(std::ranges::find_if(idle_, is_of_kind));
  }

  void put(std::unique_ptr<Workspace> workspace) noexcept {
    const std::size_t bytes = workspace->logits_capacity();
    if (bytes > most_bytes_) {
      return;
    }
    std::unique_lock lock(mutex_);
    while (!has_room(bytes)) {
      std::unique_ptr<Workspace> unused = take_out(idle_.begin());
      lock.unlock();  // a device takes a while to free memory
      unused.reset();
      lock.lock();
    }
    idle_.push_back(std::move(workspace));
  }

 private:
  using List = std::vector<std::unique_ptr<Workspace>>;  // in the order in which they came

  std::unique_ptr<Workspace> take_out(typename List::iterator at) {
    std::unique_ptr<Workspace> taken = std::move(*at);
    idle_.erase(at);
    return taken;
  }

  [[nodiscard]] bool has_room(std::size_t bytes) const {
    const auto add = [](std::size_t sum, const auto& one) { return sum + one->logits_capacity(); };
    return idle_.size() < kMost &&
           std::accumulate(idle_.begin(), idle_.end(), bytes, add) <= most_bytes_;
  }

  std::size_t most_bytes_;
  std::mutex mutex_;
  List idle_;
};

}  // namespace kvcache::inference
