// A text that goes on, token by token; several at once.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvcache/constraint.hpp"
#include "kvcache/export.hpp"
#include "kvcache/sampler.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/tokenizer.hpp"
#include "kvcache/types.hpp"
#include "kvcache/windowed_sequence.hpp"

namespace kvcache {

/// Why a text ended.
enum class FinishReason {
  length,       // it has as many new tokens as were asked for
  stop_token,   // the last one is a stop token
  stop_string,  // a stop string came
  cancelled,    // the callback said so
  complete,     // the constraint allows nothing more
};

KVCACHE_EXPORT std::string_view finish_reason_name(FinishReason reason) noexcept;  // "length", …

struct TokenLogProbability {
  TokenId token;
  float log_probability;
};

/// How probable a new token was to the model: by the softmax of its logits, before biases,
/// penalties, temperature and cuts. With a constraint, by the softmax over the tokens that it
/// allows.
struct TokenLogProbabilities {
  float chosen = 0;
  std::vector<TokenLogProbability> most_probable = {};  // as many as were asked for, best first
};

struct GenerateOptions {
  std::size_t max_new_tokens = 0;
  SamplingOptions sampling = {};

  /// What ends a text: it is among the new tokens and leaves nothing in the text.
  std::vector<TokenId> stop_tokens = {};
  /// What ends a text, wherever in it and its tokens it begins; the text ends before it. In UTF-8;
  /// needs a tokenizer.
  std::vector<std::string> stop_strings = {};

  /// What the text has to be; null: anything. It is forked for each text, in the state that it has,
  /// and stays as it is. Its tokens are allowed, and stop tokens where it may end; a stop token
  /// that it allows itself, where that completes it. Outlives the call.
  const Constraint* constraint = nullptr;

  /// Whose text of the new tokens is wanted; null: tokens alone. Outlives the call.
  const Tokenizer* tokenizer = nullptr;

  /// So many of the most probable tokens beside each new one's own log-probability; unset: neither.
  std::optional<std::size_t> log_probabilities = {};
};

/// What was generated after a prompt.
struct Generated {
  std::vector<TokenId> tokens = {};  // the new ones, a stop token among them
  std::string text = {};             // of these, up to what ended it; empty without a tokenizer
  FinishReason finish_reason = FinishReason::length;
  /// Whether the text is one that the constraint lets end here, and not cut off by max_new_tokens,
  /// a stop string or the callback; true without one.
  bool meets_constraint = true;
  std::vector<TokenLogProbabilities> log_probabilities = {};  // of each token, where asked for
};

/// A token that was just drawn.
struct NewToken {
  std::size_t sample;  // whose: below the number of texts
  TokenId token;
  std::string_view text;  // what its text has grown by: whole characters, and none that may yet be
                          // the beginning of a stop string
};

/// Told of each new token; false ends its text.
using NewTokenCallback = std::function<bool(const NewToken& token)>;

/// Appends `prompt` to the sequence and then draws up to `max_new_tokens` tokens. The last of them
/// is not in the sequence: nothing was asked after. Without a prompt, the sequence's own text goes
/// on.
///
/// A token is drawn by its position in the sequence: the text is that of one call whether or not it
/// was generated in parts, as long as no frequency and presence penalties count new tokens.
///
/// @throws Error context_full when prompt and new tokens do not fit, before anything is computed;
///         invalid_argument, token_out_of_range for options; no_token_allowed where a constraint
///         leaves none; otherwise as Sequence::extend, Sampler::sample and the constraint. The
///         sequence is then as it was (but for a last block that it shared, which has become its
///         own), and so it is where `on_token` throws; unless it has given back what it would see
///         (Sequence::can_rewind_to): then it keeps what was appended.
KVCACHE_EXPORT Generated generate(Sequence& sequence, std::span<const TokenId> prompt,
                                  const GenerateOptions& options,
                                  const NewTokenCallback& on_token = {});

/// The same on a text that may outgrow the model's positions.
/// @throws Error as WindowedSequence::extend. What was appended until then stays, because a text
/// that slid has forgotten what was before.
KVCACHE_EXPORT Generated generate(WindowedSequence& sequence, std::span<const TokenId> prompt,
                                  const GenerateOptions& options,
                                  const NewTokenCallback& on_token = {});

/// `count` texts of one prompt, which is computed once: the sequence is forked, and each run is of
/// one token of all texts that go on. The sequence then ends with the prompt. Text i is drawn as
/// sample i; where Model::invariant_results(), it is the same in any company, and text 0 that of
/// generate().
///
/// @throws Error as generate(), and invalid_argument for a count of 0
KVCACHE_EXPORT std::vector<Generated> generate_samples(Sequence& sequence,
                                                       std::span<const TokenId> prompt,
                                                       std::size_t count,
                                                       const GenerateOptions& options,
                                                       const NewTokenCallback& on_token = {});

}  // namespace kvcache
