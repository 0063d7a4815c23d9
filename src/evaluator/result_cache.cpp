#include "evaluator/result_cache.hpp"

#include <iterator>
#include <new>
#include <utility>

namespace kvcache::evaluator {
namespace {

/// Of the entry, its list's and its table's node, roughly.
constexpr std::size_t kEntryBytes = sizeof(Outcome) + 160;

std::size_t bytes_of(const Outcome& outcome) {
  if (const auto* nodes = std::get_if<EvaluatedNodes>(&outcome.result)) {
    return kEntryBytes + nodes->copied_bytes();
  }
  if (const auto* scores = std::get_if<Scores>(&outcome.result)) {
    return kEntryBytes + scores->bytes();
  }
  return kEntryBytes;
}

}  // namespace

std::size_t ResultCache::KeyHash::operator()(const Key& key) const noexcept {
  constexpr std::uint64_t kOdd =
      0x9E3779B97F4A7C15;  // callers' hashes may differ in high bits only
  return static_cast<std::size_t>((key.caller ^ (key.caller >> 32U)) * kOdd +
                                  static_cast<std::uint64_t>(key.kind));
}

ResultCache::Key ResultCache::key_of(const Task& task) noexcept {
  return {*task.options.cache_key, task.kind()};
}

std::shared_ptr<const Outcome> ResultCache::find(const Task& task) noexcept {
  const auto found = by_key_.find(key_of(task));
  if (found == by_key_.end()) {
    ++stats_.misses;
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, found->second);
  ++found->second->hits;
  ++stats_.hits;
  return found->second->outcome;
}

void ResultCache::insert(const Task& task, std::shared_ptr<const Outcome> outcome) noexcept {
  const std::size_t bytes = bytes_of(*outcome);
  const Key key = key_of(task);
  if (bytes > stats_.max_bytes || by_key_.contains(key)) {
    return;
  }
  try {
    entries_.push_front({.key = key, .outcome = std::move(outcome), .bytes = bytes});
    try {
      by_key_.emplace(key, entries_.begin());
    } catch (const std::bad_alloc&) {
      entries_.pop_front();
      return;
    }
  } catch (const std::bad_alloc&) {
    return;
  }
  ++stats_.entries;
  stats_.bytes += bytes;
  while (stats_.bytes > stats_.max_bytes) {
    evict_last();
    ++stats_.evictions;
  }
}

void ResultCache::evict_last() noexcept {
  by_key_.erase(entries_.back().key);
  stats_.bytes -= entries_.back().bytes;
  --stats_.entries;
  entries_.pop_back();
}

void ResultCache::clear() noexcept {
  by_key_.clear();
  entries_.clear();
  stats_.entries = 0;
  stats_.bytes = 0;
}

std::optional<std::uint64_t> ResultCache::hits_of(std::uint64_t key) const {
  std::optional<std::uint64_t> hits;
  for (const Kind kind : {Kind::evaluate, Kind::score}) {
    if (const auto found = by_key_.find({key, kind}); found != by_key_.end()) {
      hits = hits.value_or(0) + found->second->hits;
    }
  }
  return hits;
}

std::shared_ptr<const Outcome> to_keep(const std::shared_ptr<Outcome>& outcome,
                                       const ModelInfo& info) noexcept {
  const auto* nodes = std::get_if<EvaluatedNodes>(&outcome->result);
  if (nodes == nullptr) {
    return outcome;  // it owns its memory
  }
  try {
    auto copy = std::make_shared<Outcome>();
    copy->result = nodes->copy_rows(info);
    copy->version = outcome->version;
    return copy;
  } catch (...) {
    return nullptr;  // out of memory: it is computed again when it is asked for again
  }
}

}  // namespace kvcache::evaluator
