// The tensors of one run: inputs, logits, and their binding to the session.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "cache/block_pool.hpp"
#include "device/step.hpp"
#include "kvcache/types.hpp"
#include "model/session.hpp"

namespace kvcache::inference {

/// Whether a run works on the cache's pools or computes everything from nothing.
enum class CacheUse { in_place, none };

/// The sizes of a run; a run of the same sizes as the one before needs no new binding.
struct RunShape {
  std::size_t tokens = 1;  // of all rows together
  std::size_t rows = 1;
  std::size_t blocks_per_row = 0;  // columns of the block table; without a cache 0
  std::size_t num_logits = 0;      // positions asked for; 0: all tokens
  bool trees = false;              // tree_parents and append_positions are given

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

  /// The inputs of a run, to be filled between prepare() and run(); see docs/MODEL_FILE.md. The
  /// rows' tokens lie one after the other.
  struct Inputs {
    std::span<std::int64_t> input_ids;         // [tokens]
    std::span<std::int64_t> position_ids;      // [tokens]
    std::span<std::int64_t> logits_positions;  // [num_logits]
    std::span<std::int32_t> block_table;       // [rows, blocks_per_row]
    std::span<std::int32_t> past_lengths;      // [rows]
    std::span<std::int32_t> append_positions;  // [rows] with trees, else empty
    std::span<std::int32_t> row_offsets;       // [rows + 1], empty for a single row
    std::span<std::int32_t> tree_parents;      // [tokens] with trees, else empty
  };

  /// Makes room for a run of this shape. Contents of the inputs are undefined afterwards.
  /// @throws Error out_of_memory
  Inputs& prepare(const RunShape& shape);

  /// @throws Error run_failed
  void run();

  /// Rows of logits of the last run.
  [[nodiscard]] std::size_t logits_rows() const noexcept;

  /// The last run's logits, [logits_rows, vocab_size].
  [[nodiscard]] device::Step& logits() noexcept { return *step_; }

  [[nodiscard]] const RunShape& shape() const noexcept { return shape_; }
  [[nodiscard]] const ModelInfo& info() const noexcept { return info_; }
  [[nodiscard]] CacheUse cache_use() const noexcept { return cache_use_; }

  /// Bytes of the logits' buffer, by far the largest one.
  [[nodiscard]] std::size_t logits_capacity() const noexcept { return step_->logits_capacity(); }

 private:
  void bind_cache();
  void bind_inputs_and_logits(const Inputs& inputs);

  model::Session& session_;
  const ModelInfo& info_;
  const cache::BlockPool& pool_;
  CacheUse cache_use_;
  Ort::MemoryInfo memory_;
  std::unique_ptr<device::Step> step_;
  Ort::IoBinding binding_;
  Ort::RunOptions run_options_;
  RunShape shape_{0, 0, 0, 0, false};
  Inputs inputs_;
};

}  // namespace kvcache::inference
