// The result of a run.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

namespace inference {
class WorkspaceLease;
}

/// Which of the new tokens' logits a call returns. The fewer, the cheaper: each row is a product
/// with the whole vocabulary.
enum class LogitsFor { last, all };

struct TokenScore {
  TokenId token;
  float logit;
};

/// Logits of one or more tokens, [rows, vocab_size], left where the run wrote them: nothing is
/// copied until asked for. They stay valid as long as this object lives, whatever happens to the
/// sequence. Not for concurrent use, nor together with other results of the same batch.
class KVCACHE_EXPORT Logits {
 public:
  Logits(std::shared_ptr<inference::WorkspaceLease> lease, std::size_t first, std::size_t rows);

  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t vocab_size() const noexcept;

  /// The logits of one row as float32, [vocab_size]. No copy for a float32 model on the CPU,
  /// otherwise converted on first use.
  /// @throws Error invalid_argument when `row` is not below rows()
  [[nodiscard]] std::span<const float> row(std::size_t row) const;
  [[nodiscard]] std::span<const float> last() const { return row(rows() - 1); }

  /// The token with the largest logit of a row, the smallest id when several are equal; over the
  /// whole vocabulary, without copying it.
  [[nodiscard]] TokenId argmax(std::size_t row) const;
  [[nodiscard]] TokenId argmax() const { return argmax(rows() - 1); }

  /// The k tokens with the largest logits of a row, largest first.
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k, std::size_t row) const;

 private:
  [[nodiscard]] std::size_t row_of_run(std::size_t row) const;

  std::shared_ptr<inference::WorkspaceLease> lease_;  // shared by the results of one batch
  std::size_t first_;                                 // row of the run's logits
  std::size_t rows_;
};

}  // namespace kvcache
