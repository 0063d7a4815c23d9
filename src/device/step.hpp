// What one run of the model reads and writes beside the cache, and the running of it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"
#include "plan/node_weights.hpp"
#include "plan/plan.hpp"
#include "plan/step_binding.hpp"

namespace kvcache::device {

/// Sizes of a run's tensors.
struct StepShape {
  std::size_t input_bytes = 0;  // of all inputs together
  std::size_t logits_rows = 0;
};

/// The model that runs are of. All of it outlives them.
struct StepModel {
  DataType type = DataType::float32;  // of the logits and of the other outputs
  std::size_t vocab_size = 0;
  std::span<const OutputInfo> outputs;  // beside the logits
  const plan::Plan& plan;
  const plan::NodeWeights& weights;
};

/// Memory of a run's inputs and logits on the device, the inputs' twin on the host, and the run
/// itself. One thread at a time prepares and runs it; after that, any number may read its logits.
class Step {
 public:
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;

  /// Makes room for runs of this shape; what is bound to the addresses below is to be bound anew.
  /// @throws Error out_of_memory
  virtual void resize(const StepShape& shape) = 0;

  /// Where the inputs are written before a run, and where the run reads them.
  [[nodiscard]] virtual std::byte* host_inputs() noexcept = 0;
  [[nodiscard]] virtual std::byte* device_inputs() noexcept = 0;

  /// [logits_rows, vocab_size] of the model's type.
  [[nodiscard]] virtual std::byte* device_logits() noexcept = 0;
  [[nodiscard]] virtual std::size_t logits_capacity() const noexcept = 0;  // in bytes

  /// Where a run writes an output beside the logits: [logits_rows, its size] of the model's type.
  [[nodiscard]] virtual std::byte* device_output(std::size_t output) noexcept = 0;

  /// Brings the inputs to the device, calls `enqueue`, which has the session run the model on what
  /// `binding` says, and waits for the logits. Runs of one shape must have the same binding: what
  /// the model does with it may be captured and run again without the session.
  /// Returns whether it was, without calling `enqueue`.
  /// @throws Error run_failed, and what `enqueue` throws
  virtual bool run(const plan::StepBinding& binding, const std::function<void()>& enqueue) = 0;

  /// The first row of the last run's logits that holds a NaN.
  [[nodiscard]] virtual std::optional<std::size_t> row_with_nan() const = 0;

  /// Whether the logits are in the host's memory, so that no row is brought there.
  [[nodiscard]] virtual bool on_host() const noexcept = 0;

  /// One row of the last run's logits as float32, [vocab_size]; where they are if the host can read
  /// them so, otherwise brought and converted on first use.
  [[nodiscard]] virtual std::span<const float> row(std::size_t row) = 0;

  /// The same of an output beside the logits, [its size].
  [[nodiscard]] virtual std::span<const float> output(std::size_t output, std::size_t row) = 0;

  /// The token with the largest logit of a row, the smallest id when several are equal.
  /// A NaN counts as larger than every number here and below.
  [[nodiscard]] virtual TokenId argmax(std::size_t row) = 0;

  /// The k tokens with the largest logits of a row, largest first; of those that are allowed, of
  /// which there are k at least. Null: all.
  [[nodiscard]] virtual std::vector<TokenScore> top_k(std::size_t k, std::size_t row,
                                                      const TokenMask* allowed) = 0;

  /// log Σ exp(logit / temperature) over a row, over the tokens that are allowed, in double
  /// precision, to within its rounding, which is not the same on every device; temperature above 0.
  /// Where the largest logit is infinite: it.
  [[nodiscard]] virtual double log_sum_exp(double temperature, std::size_t row,
                                           const TokenMask* allowed) = 0;

  /// found[i] = the logit of tokens[i], less log Σ exp(logit) over its row: its log-probability.
  virtual void log_probabilities(std::span<const RowToken> tokens, std::span<float> found) = 0;
};

}  // namespace kvcache::device
