// Guessing by a smaller model.
#include <algorithm>
#include <cstdint>

#include "kvcache/speculation.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

/// Appends the likeliest token, and returns it.
TokenId append_best(TokenTree& tree, const Logits& logits) try {
  tree.parents.push_back(static_cast<std::int32_t>(tree.tokens.size()) - 1);
  tree.tokens.push_back(logits.argmax());
  return tree.tokens.back();
} catch (...) {
  rethrow_as_error(kRun);
}

}  // namespace

DraftModel::DraftModel(const Model& model) : sequence_(model.new_sequence()) {}

TokenTree DraftModel::draft(std::span<const TokenId> text, std::size_t most) {
  TokenTree tree;
  if (most == 0 || text.empty()) {
    return tree;
  }
  const auto known =
      static_cast<std::size_t>(std::ranges::mismatch(sequence_.tokens(), text).in2 - text.begin());
  // The last token is computed again where all are known: what follows it is wanted.
  sequence_.rewind(std::min(known, text.size() - 1));
  if (!sequence_.fits(text.size() - sequence_.length() + most - 1)) {
    return tree;
  }
  TokenId token = append_best(tree, sequence_.extend(text.subspan(sequence_.length())));
  while (tree.tokens.size() < most) {
    token = append_best(tree, sequence_.extend({&token, 1}));
  }
  return tree;
}

}  // namespace kvcache
