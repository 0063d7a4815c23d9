// What the handles of kvcache.h are, how they are made and given out.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "c/arguments.hpp"
#include "kvcache.h"
#include "kvcache/kvcache.hpp"

struct kvcache_model {
  kvcache::Model model;
};

/// Its members and those of the next two come once nothing can fail any more: after an extension,
/// the handle of its logits must not.
struct kvcache_logits {
  std::optional<kvcache::Logits> logits;
};

struct kvcache_sequence {
  kvcache::Sequence sequence;
  kvcache::Model model;  // that it is of
};

struct kvcache_tree_evaluation {
  std::optional<kvcache::TreeEvaluation> evaluation;
};

struct kvcache_prefix_cache {
  kvcache::PrefixCache cache;
  kvcache::Model model;
};

struct kvcache_tokenizer {
  kvcache::Tokenizer tokenizer;
};

struct kvcache_text_stream {
  kvcache::TextStream stream;
  std::string piece = {};  // that the latest call returned
};

namespace kvcache::c {

template <typename Handle, typename... Values>
Handle* new_handle(Values&&... values) {
  return new Handle{std::forward<Values>(values)...};
}

/// Where a handle goes: NULL until it is there.
template <typename Handle>
Handle*& result(const Call& call, Handle** to, const char* name) {
  Handle*& place = call.needed(to, name);
  place = nullptr;
  return place;
}

}  // namespace kvcache::c
