// Word caches for threads that encode at the same time.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "text/word_cache.hpp"

namespace kvcache::text {

/// As many caches as threads have encoded at once.
class WordCachePool {
 public:
  std::unique_ptr<WordCache> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        auto cache = std::move(free_.back());
        free_.pop_back();
        return cache;
      }
    }
    return std::make_unique<WordCache>();
  }

  void give_back(std::unique_ptr<WordCache> cache) noexcept {
    const std::lock_guard lock(mutex_);
    try {
      free_.push_back(std::move(cache));
    } catch (const std::bad_alloc&) {
      cache.reset();  // the next thread makes another
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> free_;
};

/// A cache of a pool for as long as this lives.
class BorrowedWordCache {
 public:
  explicit BorrowedWordCache(WordCachePool& pool) : pool_(pool), cache_(pool.take()) {}
  BorrowedWordCache(const BorrowedWordCache&) = delete;
  BorrowedWordCache& operator=(const BorrowedWordCache&) = delete;
  ~BorrowedWordCache() { pool_.give_back(std::move(cache_)); }

  [[nodiscard]] WordCache& operator*() const noexcept { return *cache_; }

 private:
  WordCachePool& pool_;
  std::unique_ptr<WordCache> cache_;
};

}  // namespace kvcache::text
