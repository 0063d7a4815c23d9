#include "kvcache_inferencer.hpp"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "model/config.hpp"

namespace {

using Clock = std::chrono::steady_clock;

kvcache::Model load_contiguous(const std::filesystem::path& path, kvcache::ModelOptions options) {
  const char* force_cpu = std::getenv("TRIGO_FORCE_CPU");  // NOLINT(concurrency-mt-unsafe)
  if (force_cpu != nullptr && std::string_view(force_cpu) == "1") {
    options.require_device = kvcache::Device::cpu;
  }
  // One block that holds a sequence, and no other.
  const kvcache::ModelInfo info = kvcache::model::read_config(path).info;
  options.block_len = info.max_seq_len;
  options.cache_bytes = info.max_seq_len * info.cache_bytes_per_token();
  kvcache::Model model = kvcache::Model::load(path, options);
  model.reserve_cache(info.max_seq_len);
  return model;
}

}  // namespace

KVCacheInferencer::KVCacheInferencer(const std::filesystem::path& model,
                                     kvcache::ModelOptions options)
    : model_(load_contiguous(model, std::move(options))), sequence_(model_.new_sequence()) {}

kvcache::Logits KVCacheInferencer::forward(std::span<const kvcache::TokenId> input_ids) {
  const kvcache::CacheStats before = model_.cache_stats();
  const Clock::time_point begin = Clock::now();
  kvcache::Logits logits = sequence_.extend(input_ids);
  metrics_.last_latency = Clock::now() - begin;
  const kvcache::CacheStats after = model_.cache_stats();

  if (metrics_.forward_calls == 0) {
    metrics_.first_latency = metrics_.last_latency;
  }
  ++metrics_.forward_calls;
  metrics_.tokens += input_ids.size();
  metrics_.total_latency += metrics_.last_latency;
  metrics_.cache_allocations += after.allocations - before.allocations;
  metrics_.cache_bytes_copied += after.bytes_copied - before.bytes_copied;
  return logits;
}

kvcache::Logits KVCacheInferencer::forward_without_cache(
    std::span<const kvcache::TokenId> input_ids) const {
  return model_.forward_without_cache(input_ids);
}

void KVCacheInferencer::reset() noexcept { sequence_.reset(); }

void KVCacheInferencer::reset_metrics() noexcept { metrics_ = {}; }

std::size_t KVCacheInferencer::cache_bytes_allocated() const {
  return model_.cache_stats().bytes_allocated;
}

std::size_t KVCacheInferencer::cache_bytes_theoretical() const noexcept {
  return model_.info().max_seq_len * model_.info().cache_bytes_per_token();
}
