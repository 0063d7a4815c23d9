// Text to tokens and back.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// How a text becomes tokens.
struct EncodeOptions {
  /// Whether the tokens that the tokenizer puts around a text, such as <s>, are there.
  bool add_special_tokens = true;
  /// Whether special tokens that are written out in the text are text like any other. Set it for
  /// text from strangers, who could otherwise end a turn, or begin the system's, by writing so.
  bool special_tokens_as_text = false;
};

/// How tokens become a text.
struct DecodeOptions {
  /// Whether special tokens, such as </s>, leave nothing in the text.
  bool skip_special_tokens = true;
  /// Whether ids that no token has leave nothing in the text, as in Hugging Face's `tokenizers`.
  /// For what a model draws: its vocabulary may be larger than its tokenizer's.
  bool skip_unknown_ids = false;
};

/// A text that grows as tokens come. What push() has returned never changes: bytes that may yet be
/// a part of a character wait, as does what a later token decides. All that push() and finish()
/// return, joined, is what Tokenizer::decode makes of the same tokens.
///
/// Move-only; may outlive its Tokenizer.
class KVCACHE_EXPORT TextStream {
 public:
  TextStream(TextStream&&) noexcept;
  TextStream& operator=(TextStream&&) noexcept;
  ~TextStream();

  /// What the text has grown by, in UTF-8; often empty.
  /// @throws Error token_out_of_range, unless such ids are skipped. The stream is then as it was.
  std::string push(TokenId token);

  /// What is still waiting: there is no further token. The next one begins another text.
  std::string finish();

 private:
  friend class Tokenizer;
  struct State;
  explicit TextStream(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

/// A tokenizer as Hugging Face's `tokenizers` 0.23 describes it in tokenizer.json, with a model of
/// byte-pair encoding: the ids and texts are those of that library. docs/TOKENIZER.md lists the
/// components there are.
///
/// Copies share their tables. Threads may use one, and copies of it, at the same time.
class KVCACHE_EXPORT Tokenizer {
 public:
  /// Reads a tokenizer.json, or that of a directory, or the vocab.json and merges.txt of one that
  /// has none.
  /// @throws Error model_not_found (no such file, or it cannot be read), tokenizer_invalid (naming
  ///         the field or the component that is not supported)
  static Tokenizer load(const std::filesystem::path& path);

  /// Reads the text of a tokenizer.json.
  /// @throws Error tokenizer_invalid
  static Tokenizer from_json(std::string_view text);

  /// The tokens of a text in UTF-8. Takes O(n log n) for n bytes.
  /// @throws Error invalid_argument (not UTF-8: the message says where), run_failed (the
  /// tokenizer's
  ///         patterns take too many steps on this text)
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text,
                                            const EncodeOptions& options = {}) const;

  /// The text of tokens, in UTF-8: bytes that are no character become U+FFFD.
  /// @throws Error token_out_of_range where no token has one of these ids, unless they are skipped
  [[nodiscard]] std::string decode(std::span<const TokenId> tokens,
                                   const DecodeOptions& options = {}) const;

  /// A text to be decoded token by token.
  [[nodiscard]] TextStream new_text(const DecodeOptions& options = {}) const;

  /// The id of a token by its text as the tokenizer's file has it, such as "Ġthe" or "</s>".
  [[nodiscard]] std::optional<TokenId> token_id(std::string_view token) const;
  /// The reverse; nothing where no token has this id.
  [[nodiscard]] std::optional<std::string> token(TokenId id) const;
  /// The bytes that a token adds to a text that has begun: maybe a part of a character, nothing for
  /// special tokens; nothing at all where no token has this id.
  /// @throws Error tokenizer_invalid where the tokenizer's decoder changes texts as a whole, so
  /// that
  ///         a token has no bytes of its own
  [[nodiscard]] std::optional<std::string> bytes(TokenId id) const;
  /// Whether a token is special: skipped when decoding, and text where that is asked for.
  [[nodiscard]] bool is_special(TokenId id) const noexcept;
  /// One above the largest id. A model's vocab_size may be larger: its tables are often padded.
  [[nodiscard]] std::size_t vocab_size() const noexcept;

 private:
  friend class ChatTemplate;
  friend class TextStream;
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);

  std::shared_ptr<const Impl> impl_;
};

}  // namespace kvcache
