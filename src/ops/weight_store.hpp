// Weights in huge pages.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace kvcache::ops {

/// Copies weights out of the mapped model file into memory backed by huge pages, and lets go of the
/// file's pages, so that they are in memory once.
///
/// Decoding reads all weights once per token. From the small pages of a mapped file that took 18 to
/// 19 ms for GPT-2 where huge pages take 15 (docs/PERFORMANCE.md).
class WeightStore {
 public:
  WeightStore();
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;
  ~WeightStore();

  /// A copy of `bytes` of weights that lives as long as this object, on 64 bytes; the same one for
  /// the same weights, such as an embedding that is the head too.
  /// @throws std::bad_alloc
  const void* keep(const void* weights, std::size_t bytes);

 private:
  struct Region;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Region>> regions_;
  std::map<const void*, const void*> copies_;  // of weights that were kept before
};

}  // namespace kvcache::ops
