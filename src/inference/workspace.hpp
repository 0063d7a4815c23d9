// The tensors of one run: inputs, logits, and their binding to the session.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/block_pool.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"
#include "model/session.hpp"

namespace kvcache::inference {

/// Whether a run works on the cache's pools or computes everything from nothing.
enum class CacheUse { in_place, none };

/// The sizes of a run; equal sizes need no new binding.
struct RunShape {
  std::size_t rows = 1;
  std::size_t tokens_per_row = 1;
  std::size_t num_logits = 0;  // positions asked for; 0: all of them

  bool operator==(const RunShape&) const = default;
};

/// Input and output tensors bound to a session once, written to before each run.
///
/// What stays the same from run to run (the cache's pools, and for decoding everything) is bound
/// when first used, so that decoding a token binds and allocates nothing. Used by one thread at a
/// time.
class Workspace {
 public:
  Workspace(model::Session& session, const ModelInfo& info, const cache::BlockPool& pool,
            CacheUse cache_use);

  /// Makes room for a run of this shape. Contents of the inputs are undefined afterwards.
  /// @throws Error out_of_memory
  void prepare(const RunShape& shape);

  /// prepare() for one row, and fills in its tokens, their positions from `depth` on, and which
  /// logits to return.
  void prepare_row(std::span<const TokenId> tokens, std::size_t depth, LogitsFor logits_for);

  // Inputs, to be filled between prepare() and run(); see docs/MODEL_FILE.md.
  [[nodiscard]] std::span<std::int64_t> input_ids() noexcept;         // [rows · tokens_per_row]
  [[nodiscard]] std::span<std::int64_t> position_ids() noexcept;      // [rows · tokens_per_row]
  [[nodiscard]] std::span<std::int64_t> logits_positions() noexcept;  // [num_logits]
  [[nodiscard]] std::span<std::int32_t> past_lengths() noexcept;      // [rows]
  [[nodiscard]] std::span<std::int32_t> block_table(std::size_t row) noexcept;  // [blocks_per_row]

  /// @throws Error run_failed
  void run();

  /// One row of the last run's logits, [vocab_size]; a float32 model's where the run wrote them,
  /// others widened on first use.
  [[nodiscard]] std::span<const float> logits_row(std::size_t row);
  [[nodiscard]] std::size_t logits_rows() const noexcept;
  [[nodiscard]] const ModelInfo& info() const noexcept { return info_; }
  [[nodiscard]] CacheUse cache_use() const noexcept { return cache_use_; }

  /// Bytes of the logits' buffer, by far the largest one.
  [[nodiscard]] std::size_t logits_capacity() const noexcept { return logits_.capacity(); }

 private:
  void bind_cache();
  void bind_inputs_and_logits();

  model::Session& session_;
  const ModelInfo& info_;
  const cache::BlockPool& pool_;
  CacheUse cache_use_;
  std::size_t blocks_per_row_;
  Ort::MemoryInfo memory_;
  Ort::IoBinding binding_;
  Ort::RunOptions run_options_;
  RunShape shape_{0, 0, 0};

  std::vector<std::int64_t> input_ids_;
  std::vector<std::int64_t> position_ids_;
  std::vector<std::int64_t> logits_positions_;
  std::vector<std::int32_t> past_lengths_;
  std::vector<std::int32_t> block_table_;    // [rows, blocks_per_row]
  std::vector<std::byte> logits_;            // [logits_rows, vocab_size] of the model's type
  std::vector<std::vector<float>> widened_;  // [logits_rows][vocab_size], empty until asked for
};

}  // namespace kvcache::inference
