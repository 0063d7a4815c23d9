// What all sequences of a model share.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>

#include "cache/block_pool.hpp"
#include "inference/idle_workspaces.hpp"
#include "inference/workspace.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/options.hpp"
#include "model/config.hpp"
#include "ort/session.hpp"

namespace kvcache::inference {

/// Session, cache and workspaces of one loaded model. Thread-safe.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  Engine(const model::Config& config, const ModelOptions& options);

  [[nodiscard]] const ModelInfo& info() const noexcept { return info_; }
  [[nodiscard]] ort::Session& session() noexcept { return session_; }
  [[nodiscard]] cache::BlockPool& pool() noexcept { return pool_; }
  [[nodiscard]] const cache::BlockPool& pool() const noexcept { return pool_; }

  /// How many of a sequence's latest tokens must be there in a group's layers, because a token to
  /// come may see them: no more than in the group before.
  [[nodiscard]] std::size_t tokens_needed(std::size_t group) const noexcept {
    return tokens_needed_[group];
  }
  static constexpr std::size_t kAllTokens = std::numeric_limits<std::size_t>::max();

  /// What ModelOptions says, for messages.
  [[nodiscard]] std::size_t rewindable_tokens() const noexcept { return rewindable_tokens_; }

  /// A workspace for the calling thread, used before where there is one; best for the same shape.
  /// Allocates only where there is none.
  WorkspaceLease lease(CacheUse cache_use, const RunShape& shape);

  /// Checks tokens that are to follow `length` earlier ones.
  /// @throws Error empty_input, token_out_of_range, context_full
  void check_tokens(std::span<const TokenId> tokens, std::size_t length) const;
  void check_token_ids(std::span<const TokenId> tokens) const;
  void check_room(std::size_t count, std::size_t length) const;

  /// Counts tokens that a commit compared.
  void count_compared(std::size_t tokens) noexcept {
    tokens_compared_.fetch_add(tokens, std::memory_order_relaxed);
  }

  [[nodiscard]] CacheStats cache_stats() const;

 private:
  friend class WorkspaceLease;
  Engine(const model::Config& config, const ModelOptions& options,
         const model::LayerGroups& groups);

  ModelInfo info_;
  ort::Session session_;
  cache::BlockPool pool_;
  std::size_t rewindable_tokens_;
  std::array<std::size_t, model::kMaxLayerGroups> tokens_needed_{};  // by group

  std::atomic<std::uint64_t> tokens_compared_{0};

  IdleWorkspaces<Workspace> idle_;
};

}  // namespace kvcache::inference
