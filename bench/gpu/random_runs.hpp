// What programs of bench/gpu run: random tokens, sequences and trees of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kvcache/kvcache.hpp"

namespace kvcache::bench {

inline std::vector<TokenId> random_tokens(const Model& model, std::mt19937_64& random,
                                          std::size_t count) {
  std::uniform_int_distribution<TokenId> any(0, static_cast<TokenId>(model.info().vocab_size) - 1);
  std::vector<TokenId> tokens(count);
  std::ranges::generate(tokens, [&] { return any(random); });
  return tokens;
}

inline Sequence random_sequence(const Model& model, std::mt19937_64& random, std::size_t length) {
  Sequence sequence = model.new_sequence();
  if (length > 0) {
    (void)sequence.extend(random_tokens(model, random, length));
  }
  return sequence;
}

/// Whose nodes have four children each, as far as there are so many.
inline TokenTree random_tree(const Model& model, std::mt19937_64& random, std::size_t nodes) {
  TokenTree tree{random_tokens(model, random, nodes), {}};
  for (std::size_t i = 0; i < nodes; ++i) {
    tree.parents.push_back(i == 0 ? -1 : static_cast<std::int32_t>((i - 1) / 4));
  }
  return tree;
}

}  // namespace kvcache::bench
