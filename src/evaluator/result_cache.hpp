// Answers that are kept under their caller's key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

#include "evaluator/task.hpp"
#include "kvcache/evaluator_metrics.hpp"

namespace kvcache::evaluator {

/// Within a bound in bytes; the least recently used go first. Of one version of the model at a
/// time.
class ResultCache {
 public:
  explicit ResultCache(std::size_t max_bytes) { stats_.max_bytes = max_bytes; }

  /// Null where nothing is kept for this task. Counts hits and misses.
  std::shared_ptr<const Outcome> find(const Task& task) noexcept;

  /// Keeps `outcome`, which owns its memory, unless it is larger than all that may be kept or there
  /// is no memory to keep it.
  void insert(const Task& task, std::shared_ptr<const Outcome> outcome) noexcept;

  void count_skipped() noexcept { ++stats_.skipped; }

  void clear() noexcept;

  [[nodiscard]] const ResultCacheStats& stats() const noexcept { return stats_; }
  [[nodiscard]] std::optional<std::uint64_t> hits_of(std::uint64_t key) const;

 private:
  struct Key {
    std::uint64_t caller;
    Kind kind;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept;
  };
  struct Entry {
    Key key;
    std::shared_ptr<const Outcome> outcome;
    std::size_t bytes;
    std::uint64_t hits = 0;
  };
  using Entries = std::list<Entry>;

  static Key key_of(const Task& task) noexcept;
  void evict_last() noexcept;

  Entries entries_;  // used last first
  std::unordered_map<Key, Entries::iterator, KeyHash> by_key_;
  ResultCacheStats stats_;
};

/// The outcome with its result in memory of its own, as the cache keeps it; null where there is no
/// memory for it.
std::shared_ptr<const Outcome> to_keep(const std::shared_ptr<Outcome>& outcome,
                                       const ModelInfo& info) noexcept;

}  // namespace kvcache::evaluator
