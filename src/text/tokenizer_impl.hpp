// What a Tokenizer and its copies share.
#pragma once

#include "kvcache/tokenizer.hpp"
#include "text/pipeline.hpp"
#include "text/token_table.hpp"
#include "text/word_cache_pool.hpp"

namespace kvcache {

struct Tokenizer::Impl {
  explicit Impl(text::Pipeline parts)
      : pipeline(std::move(parts)), tokens(pipeline.model.vocabulary(), pipeline.added_tokens) {}

  text::Pipeline pipeline;
  text::TokenTable tokens;
  mutable text::WordCachePool caches;
};

}  // namespace kvcache
