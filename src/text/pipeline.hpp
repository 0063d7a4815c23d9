// A tokenizer's parts, in the order that a text passes them.
#pragma once

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

/// How a text is encoded, as EncodeOptions says it.
struct Encoding {
  bool add_special_tokens;
  bool special_tokens_as_text;
};

/// The tokens of a text, which is valid UTF-8.
/// @throws Error run_failed (Pattern::find_all, normalize), tokenizer_invalid (Bpe::encode)
std::vector<TokenId> encode(const Pipeline& pipeline, std::string_view text, Encoding encoding,
                            WordCache& cache);

}  // namespace kvcache::text
