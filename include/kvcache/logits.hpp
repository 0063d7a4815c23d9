// The result of a run.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

namespace inference {
class Engine;
class Workspace;

/// A share in the memory of a run, which goes back to its engine with the last one. The engine
/// lives as long. Copies may be in different threads.
class KVCACHE_EXPORT WorkspaceLease {
 public:
  WorkspaceLease(std::shared_ptr<Engine> engine, std::unique_ptr<Workspace> workspace) noexcept;
  WorkspaceLease(const WorkspaceLease& other) noexcept;
  WorkspaceLease(WorkspaceLease&& other) noexcept;
  WorkspaceLease& operator=(WorkspaceLease other) noexcept;
  ~WorkspaceLease();

  [[nodiscard]] Workspace& operator*() const noexcept { return *workspace_; }
  [[nodiscard]] Workspace* operator->() const noexcept { return workspace_; }

 private:
  Workspace* workspace_;
};
}  // namespace inference

class TokenMask;

/// Which of the new tokens' logits a call returns. The fewer, the cheaper: each row is a product
/// with the whole vocabulary.
enum class LogitsFor { last, all };

/// Where logits lie as the run wrote them, [rows, vocab_size] without gaps.
struct LogitsMemory {
  const void* data = nullptr;
  DataType type = DataType::float32;  // of ModelInfo::dtype
  Device device = Device::cpu;
  int device_id = 0;  // of several GPUs
};

struct TokenScore {
  TokenId token;
  float logit;
};

/// A token, and the row of logits that says how probable it is.
struct RowToken {
  std::size_t row;
  TokenId token;
};

/// Logits of one or more tokens, [rows, vocab_size], left where the run wrote them: nothing is
/// copied until asked for. They stay valid as long as this object lives, whatever happens to the
/// sequence, and are all numbers: a run that computes NaN fails. Any number of threads may read
/// them at the same time, and other results of the same batch too.
class KVCACHE_EXPORT Logits {
 public:
  Logits(inference::WorkspaceLease lease, std::size_t first, std::size_t rows) noexcept;

  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t vocab_size() const noexcept;

  /// Whether they are in the host's memory. Where not, row() brings one there, a few hundred
  /// kilobytes, and argmax(), top_k(), log_sum_exp() and log_probabilities() look where they are.
  [[nodiscard]] bool on_host() const noexcept;

  /// Where they are, for who computes with them there; written whole, and valid as long as row().
  [[nodiscard]] LogitsMemory memory() const;

  /// The logits of one row as float32, [vocab_size]. No copy for a float32 model on the CPU,
  /// otherwise converted on first use.
  /// @throws Error invalid_argument when `row` is not below rows()
  [[nodiscard]] std::span<const float> row(std::size_t row) const;
  [[nodiscard]] std::span<const float> last() const { return row(rows() - 1); }

  /// The token with the largest logit of a row, the smallest id when several are equal; over the
  /// whole vocabulary, without copying it.
  [[nodiscard]] TokenId argmax(std::size_t row) const;
  [[nodiscard]] TokenId argmax() const { return argmax(rows() - 1); }

  /// What the model computes beside the logits for the token of a row, as float32, [size]; the
  /// names and sizes are ModelInfo::outputs. Valid as long as row().
  /// @throws Error invalid_argument when the model has no output of this name or the result no such
  ///         row; logits_invalid where the vector holds NaN
  [[nodiscard]] std::span<const float> output(std::string_view name, std::size_t row) const;

  /// The logarithms of the softmax of a row over the whole vocabulary, at some tokens: what a few
  /// legal ones are scored by. One pass over the row, however many.
  /// @throws Error invalid_argument when `row` is not below rows(), token_out_of_range
  [[nodiscard]] std::vector<float> log_probabilities(std::span<const TokenId> tokens,
                                                     std::size_t row) const;

  /// The same of tokens of different rows, in any order: found[i] is that of tokens[i]. One
  /// question to the device for all of them, and one pass over each row.
  /// @throws Error as above
  [[nodiscard]] std::vector<float> log_probabilities(std::span<const RowToken> tokens) const;

  /// The k tokens with the largest logits of a row, largest first.
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k, std::size_t row) const;

  /// The same of the tokens that are allowed; fewer than k where there are fewer.
  /// @throws Error invalid_argument when `row` is not below rows() or the mask is of another
  ///         vocabulary
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k, std::size_t row,
                                              const TokenMask& allowed) const;

  /// log Σ exp(logit / temperature) over a row, the logarithm of its softmax's denominator, where
  /// the logits are and in double precision: `logit / temperature` less this is a token's
  /// log-probability. Sums of another order, as a GPU's, differ in their last bits. Where the
  /// largest logit is infinite, that.
  /// @throws Error invalid_argument when `row` is not below rows() or `temperature` not above 0
  ///         and finite
  [[nodiscard]] double log_sum_exp(std::size_t row, double temperature = 1) const;

  /// The same over the tokens that are allowed; −infinity where none is.
  /// @throws Error as above, and invalid_argument when the mask is of another vocabulary
  [[nodiscard]] double log_sum_exp(std::size_t row, double temperature,
                                   const TokenMask& allowed) const;

 private:
  [[nodiscard]] std::size_t row_of_run(std::size_t row) const;
  [[nodiscard]] double log_sum_over(std::size_t row, double temperature,
                                    const TokenMask* allowed) const;

  inference::WorkspaceLease lease_;  // shared by the results of one batch
  std::size_t first_;                // row of the run's logits
  std::size_t rows_;
};

}  // namespace kvcache
