// Guessing that a text repeats itself.
#include <algorithm>
#include <cstdint>

#include "base/throw_error.hpp"
#include "kvcache/speculation.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

constexpr Meaning kDraft{"no tokens were guessed", ErrorCode::run_failed, ErrorCode::run_failed};

/// Where the last `count` tokens stood before position `before`, the latest place: the position
/// after them. 0: nowhere.
std::size_t place_of_last(std::span<const TokenId> text, std::size_t count, std::size_t before) {
  const std::span<const TokenId> wanted = text.last(count);
  for (std::size_t end = before; end-- > count;) {
    // The last token first: most places differ there.
    if (text[end - 1] == wanted.back() &&
        std::ranges::equal(text.subspan(end - count, count), wanted)) {
      return end;
    }
  }
  return 0;
}

/// Appends a chain that follows the text.
void append_chain(TokenTree& tree, std::span<const TokenId> chain) {
  std::int32_t parent = -1;
  for (const TokenId token : chain) {
    tree.parents.push_back(parent);
    parent = static_cast<std::int32_t>(tree.tokens.size());
    tree.tokens.push_back(token);
  }
}

}  // namespace

Drafter::~Drafter() = default;

PromptLookup::PromptLookup(std::size_t longest, std::size_t shortest)
    : longest_(longest), shortest_(shortest) {
  if (shortest == 0 || shortest > longest) {
    throw_error(ErrorCode::invalid_argument,
                "prompt lookup was to look for {} to {} last tokens; the fewest must be at least 1 "
                "and at most the most",
                shortest, longest);
  }
}

TokenTree PromptLookup::draft(std::span<const TokenId> text, std::size_t most) try {
  TokenTree tree;
  if (most == 0 || text.size() <= shortest_) {
    return tree;
  }
  for (std::size_t count = std::min(longest_, text.size() - 1); count >= shortest_; --count) {
    const std::size_t place = place_of_last(text, count, text.size());
    if (place == 0) {
      continue;
    }
    std::size_t other = place_of_last(text, count, place);
    while (other > 0 && text[other] == text[place]) {
      other = place_of_last(text, count, other);
    }
    const auto from = [&](std::size_t begin, std::size_t length) {
      return text.subspan(begin, std::min(length, text.size() - begin));
    };
    const std::size_t of_other = other > 0 ? most / 2 : 0;
    append_chain(tree, from(place, most - of_other));
    append_chain(tree, from(other, of_other));
    return tree;
  }
  return tree;
} catch (...) {
  rethrow_as_error(kDraft);
}

}  // namespace kvcache
