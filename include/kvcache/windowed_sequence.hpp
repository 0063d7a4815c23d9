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

/// What becomes of keys and values that stay when a window slides (docs/WINDOW.md).
enum class Sliding {
  by_model,     // keep, where positions are relative and size + 2 strides of them are there
  keep,         // they are kept as they were computed; positions must be relative (rotary or none)
  encode_anew,  // their tokens are encoded anew at the first positions
};

/// How a text that outgrows the context is cut. size + stride tokens fit; with the next one the
/// window slides: `size` tokens stay, the first `sinks` of the text among them, and `stride` more
/// can then be appended before it slides again. Where they are encoded anew, a token costs
/// (size − sinks) / stride encoded tokens more than without a window, on average; where they are
/// kept, nothing until the text has used up the model's positions, see WindowedSequence.
struct WindowOptions {
  std::size_t size = 0;    // 0: an eighth of the model's positions; to encode anew, half
  std::size_t stride = 0;  // 0: one block; to encode anew, the rest of the positions
  std::size_t sinks = 0;   // below size
  Sliding sliding = Sliding::by_model;
};

/// Appends tokens without end, in constant memory. Which tokens are kept depends on the length of
/// the text alone, not on how it was split.
///
/// Sliding::encode_anew: the logits are those of a plain forward over context(). A model with
/// learned positions (GPT-2) sees every kept token at a new position after sliding; the sinks keep
/// theirs, and their keys and values.
///
/// Sliding::keep: the logits are those of a plain forward over the whole text in which each token
/// attends to what was kept when it came, itself included, at the positions of the text; a layer
/// with a window of its own to the latest of these that fill it. The stride is rounded down to
/// whole blocks, at least one. When the model has no positions for another stride, the kept tokens
/// are encoded anew once and the text goes on as if it had begun with them.
///
/// Move-only; threads as Sequence.
class KVCACHE_EXPORT WindowedSequence {
 public:
  /// @throws Error invalid_argument when size + stride exceeds the model's positions, sinks are not
  ///         below size, or keys and values are to be kept by a model with learned positions
  explicit WindowedSequence(const Model& model, const WindowOptions& options = {});

  /// Appends `tokens` and returns the logits of the last, [1, vocab_size]. While the window slides
  /// the old and the new context are both in the cache; kept blocks are shared by the two.
  ///
  /// @throws Error empty_input, token_out_of_range, cache_full, out_of_memory, run_failed,
  ///         logits_invalid. The text is then as it was.
  Logits extend(std::span<const TokenId> tokens);

  /// Number of tokens ever appended.
  [[nodiscard]] std::uint64_t length() const noexcept { return length_; }

  /// What the model sees: sinks, then the latest tokens. It can be forked, and trees evaluated on
  /// it. One that slid and kept its keys and values is not what its tokens alone would give: it
  /// cannot be saved or inserted into a PrefixCache.
  [[nodiscard]] const Sequence& context() const noexcept { return sequence_; }

  /// Times the window slid, and how many tokens that had been encoded before were encoded anew.
  [[nodiscard]] std::uint64_t slides() const noexcept { return slides_; }
  [[nodiscard]] std::uint64_t tokens_encoded_anew() const noexcept { return tokens_encoded_anew_; }

  /// The options with nothing left to default.
  [[nodiscard]] const WindowOptions& options() const noexcept { return options_; }

 private:
  [[nodiscard]] std::vector<TokenId> context_after(std::span<const TokenId> tokens,
                                                   std::size_t kept) const;
  Logits slide_and_keep(std::span<const TokenId> tokens);
  Logits slide_and_encode_anew(std::span<const TokenId> tokens);

  WindowOptions options_;
  Sequence sequence_;
  std::uint64_t length_ = 0;
  std::uint64_t slides_ = 0;
  std::uint64_t tokens_encoded_anew_ = 0;
};

}  // namespace kvcache
