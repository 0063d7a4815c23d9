// A tokenizer's parts, in the order that a text passes them.
#pragma once

#include <span>
#include <vector>

#include "text/added_tokens.hpp"
#include "text/bpe.hpp"
#include "text/decoder.hpp"
#include "text/normalizer.hpp"
#include "text/post_processor.hpp"
#include "text/pre_tokenizer.hpp"

namespace kvcache::text {

struct Pipeline {
  AddedTokens added_tokens;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe model;
  PostProcessor post_processor;
  std::vector<DecoderStep> decoder;
};

/// Bytes [begin, end) of a text.
struct TextRange {
  std::size_t begin;
  std::size_t end;
};

/// What of a text comes from strangers, and which tokens are only text there.
struct ForeignText {
  std::span<const TextRange> ranges;  // in order, none touching another
  std::vector<bool> guarded;          // by the token's place in AddedTokens::tokens()
};

/// How a text is encoded, as EncodeOptions says it.
struct Encoding {
  bool add_special_tokens;
  bool special_tokens_as_text;
  const ForeignText* foreign = nullptr;  // instead: only there are tokens text
};

/// The tokens of a text, which is valid UTF-8.
/// @throws Error run_failed (Pattern::find_all, normalize), tokenizer_invalid (Bpe::encode),
///         invalid_argument (a guarded token is in foreign text and beside it, and the normaliser
///         hides which is which)
std::vector<TokenId> encode(const Pipeline& pipeline, std::string_view text, Encoding encoding,
                            WordCache& cache);

}  // namespace kvcache::text
