// The tensors of one run: inputs, logits, and their binding to the session.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <atomic>
#include <cstddef>
#include <memory>

#include "cache/block_pool.hpp"
#include "device/step.hpp"
#include "inference/run_inputs.hpp"
#include "kvcache/types.hpp"
#include "ort/session.hpp"

namespace kvcache::inference {

class Engine;

/// Whether a run works on the cache's pools or computes everything from nothing.
enum class CacheUse { in_place, none };

/// Input and output tensors bound to a session once, written to before each run.
///
/// What stays the same from run to run (the cache's pools, and for decoding everything) is bound
/// when first used, so that decoding a token binds nothing. Prepared and run by one thread at a
/// time; then its logits may be read by several.
class Workspace {
 public:
  Workspace(ort::Session& session, const ModelInfo& info, const cache::BlockPool& pool,
            CacheUse cache_use);

  /// Makes room for a run of this shape. The inputs are to be filled before run(); their contents
  /// are undefined until then.
  /// @throws Error out_of_memory
  RunInputs& prepare(const RunShape& shape);

  /// @throws Error run_failed, out_of_memory, logits_invalid
  void run();

  /// Rows of logits of the last run.
  [[nodiscard]] std::size_t logits_rows() const noexcept { return shape_.logits_rows(); }

  /// The last run's logits, [logits_rows, vocab_size], and other outputs.
  [[nodiscard]] device::Step& step() noexcept { return *step_; }

  /// Which of several devices of a kind they are on.
  [[nodiscard]] int device_id() const { return memory_.GetDeviceId(); }

  /// While it is on loan: from whom, and how many share it.
  struct Loan {
    std::shared_ptr<Engine> engine;
    std::atomic<std::size_t> shares{0};
  };
  [[nodiscard]] Loan& loan() noexcept { return loan_; }

  [[nodiscard]] const RunShape& shape() const noexcept { return shape_; }
  [[nodiscard]] const ModelInfo& info() const noexcept { return info_; }
  [[nodiscard]] CacheUse cache_use() const noexcept { return cache_use_; }

  /// Bytes of the logits' buffer, by far the largest one.
  [[nodiscard]] std::size_t logits_capacity() const noexcept { return step_->logits_capacity(); }

 private:
  void bind_cache();
  void bind_step(const RunInputs& inputs, const RunShape& shape);
  void bind_inputs_and_outputs(const RunInputs& inputs, const RunShape& shape);

  ort::Session& session_;
  const ModelInfo& info_;
  const cache::BlockPool& pool_;
  CacheUse cache_use_;
  Ort::MemoryInfo memory_;
  std::unique_ptr<device::Step> step_;
  Ort::IoBinding binding_;
  Ort::RunOptions run_options_;
  static constexpr RunShape kNoShape{.tokens = 0, .rows = 0};
  RunShape shape_ = kNoShape;
  RunInputs inputs_;
  plan::StepBinding step_binding_;
  Loan loan_;
};

}  // namespace kvcache::inference
