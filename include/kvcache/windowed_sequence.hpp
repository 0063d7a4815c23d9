// A text of any length, of which the model sees a window.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/model.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// How a text that outgrows the context is cut. size + stride tokens fit; with the next one the
/// window slides: `size` tokens stay, the first `sinks` of the text among them, and are encoded
/// anew; `stride` more can then be appended before it slides again. A token therefore costs
/// (size − sinks) / stride encoded tokens more than without a window, on average.
struct WindowOptions {
  std::size_t size = 0;    // 0: half of the model's positions
  std::size_t stride = 0;  // 0: the rest of them
  std::size_t sinks = 0;   // below size
};

/// Appends tokens without end, in constant memory.
///
/// Exact: the logits are those of a plain forward over context(), and which tokens these are
/// depends on the length of the text alone, not on how it was split. A model with absolute
/// positions (GPT-2) sees every kept token at a new position after sliding, which is why they are
/// encoded anew; the sinks keep theirs, and their keys and values. Move-only; threads as Sequence.
class KVCACHE_EXPORT WindowedSequence {
 public:
  /// @throws Error invalid_argument when size + stride exceeds the model's positions, or sinks are
  ///         not below size
  explicit WindowedSequence(const Model& model, const WindowOptions& options = {});

  /// Appends `tokens` and returns the logits of the last, [1, vocab_size]. While the window slides
  /// the old and the new context are both in the cache.
  ///
  /// @throws Error empty_input, token_out_of_range, cache_full, out_of_memory, run_failed,
  ///         logits_invalid. The text is then as it was.
  Logits extend(std::span<const TokenId> tokens);

  /// Number of tokens ever appended.
  [[nodiscard]] std::uint64_t length() const noexcept { return length_; }

  /// What the model sees: sinks, then the latest tokens.
  [[nodiscard]] const Sequence& context() const noexcept { return sequence_; }

  /// Times the window slid, and how many tokens that had been encoded before were encoded anew.
  [[nodiscard]] std::uint64_t slides() const noexcept { return slides_; }
  [[nodiscard]] std::uint64_t tokens_encoded_anew() const noexcept { return tokens_encoded_anew_; }

  /// The options with nothing left to default.
  [[nodiscard]] const WindowOptions& options() const noexcept { return options_; }

 private:
  [[nodiscard]] std::vector<TokenId> context_after(std::span<const TokenId> tokens,
                                                   std::size_t kept) const;

  WindowOptions options_;
  Sequence sequence_;
  std::uint64_t length_ = 0;
  std::uint64_t slides_ = 0;
  std::uint64_t tokens_encoded_anew_ = 0;
};

}  // namespace kvcache
