#include "kvcache/model.hpp"

#include <utility>
#include <vector>

#include "cache/saved_state.hpp"
#include "inference/engine.hpp"
#include "inference/run.hpp"
#include "inference/sequence_state.hpp"
#include "model/config.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

model::Config read_config(const std::filesystem::path& path) try {
  return model::read_config(path);
} catch (...) {
  rethrow_as_error({"the model's config.json was not read", ErrorCode::model_not_found,
                    ErrorCode::config_invalid});
}

}  // namespace

Model::Model(std::shared_ptr<inference::Engine> engine) : engine_(std::move(engine)) {}

Model Model::load(const std::filesystem::path& path, const ModelOptions& options) try {
  return Model(std::make_shared<inference::Engine>(read_config(path), options));
} catch (...) {
  rethrow_as_error(
      {"the model was not loaded", ErrorCode::model_not_found, ErrorCode::model_invalid});
}

const ModelInfo& Model::info() const noexcept { return engine_->info(); }

int Model::num_threads() const noexcept { return engine_->session().num_threads(); }
bool Model::invariant_results() const noexcept { return engine_->session().invariant_results(); }

Sequence Model::new_sequence() const { return Sequence(engine_); }

Sequence Model::load_sequence(const std::filesystem::path& path) const try {
  auto state = std::make_unique<inference::SequenceState>(engine_);
  const std::vector<TokenId> tokens = cache::load_state(path, engine_->info(), state->table);
  state->tokens.prepare_append();
  state->tokens.append(tokens);
  return Sequence(std::move(state));
} catch (...) {
  rethrow_as_error(
      {"the sequence was not loaded", ErrorCode::state_invalid, ErrorCode::state_invalid});
}

Logits Model::forward_without_cache(std::span<const TokenId> tokens, LogitsFor logits_for) const
    try {
  engine_->check_tokens(tokens, 0);
  return {inference::run_without_cache(*engine_, tokens, logits_for), 0,
          logits_for == LogitsFor::last ? 1 : tokens.size()};
} catch (...) {
  rethrow_as_error(kRun);
}

CacheStats Model::cache_stats() const { return engine_->cache_stats(); }

void Model::check_cache_invariants() const { engine_->pool().check_invariants(); }

void Model::reserve_cache(std::size_t count) const try {
  const std::size_t block_len = engine_->pool().shape().block_len;
  engine_->pool().reserve(count / block_len + (count % block_len != 0 ? 1 : 0));
} catch (...) {
  rethrow_as_error(
      {"the cache was not reserved", ErrorCode::out_of_memory, ErrorCode::out_of_memory});
}

void Model::trim_cache() const noexcept { engine_->pool().trim(); }

bool Model::move_weights() const { return engine_->session().move_weights(); }

Device Model::device() const noexcept { return engine_->session().backend().device(); }

std::string Model::device_report() const { return engine_->session().device_report(); }

std::filesystem::path Model::end_profile() const try {
  return engine_->session().end_profile();
} catch (...) {
  rethrow_as_error({"the profile was not ended", ErrorCode::run_failed, ErrorCode::run_failed});
}

}  // namespace kvcache
