#include "text/added_tokens.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked_json.hpp"
#include "text/pattern.hpp"
#include "text/problem.hpp"
#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

bool is_white_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

/// Whether a character belongs to a word, by Unicode's UTS 18.
bool is_of_word(std::string_view character) {
  static const Pattern word =
      Pattern::of_pcre("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}]");
  std::vector<Span> spans;
  word.find_all(character, spans);
  return spans.front().match;
}

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  const auto before = [&] {
    const std::size_t length = character_before(text, begin).length;
    return text.substr(begin - length, length);
  };
  return (begin > 0 && is_of_word(before())) ||
         (end < text.size() && is_of_word(text.substr(end, character_at(text, end).length)));
}

}  // namespace

void AddedTokens::Trie::add(std::string_view text, std::size_t token) {
  std::size_t node = 0;
  for (const char byte : text) {
    std::size_t next = child(node, byte);
    if (next == 0) {
      next = nodes.size();
      nodes.emplace_back();
      nodes[node].children.emplace_back(byte, next);
      if (node == 0) {
        first[static_cast<std::uint8_t>(byte)] = next;
      }
    }
    node = next;
  }
  nodes[node].token = token;
}

std::size_t AddedTokens::Trie::child(std::size_t node, char byte) const noexcept {
  const auto& children = nodes[node].children;
  const auto found = std::ranges::find(children, byte, &std::pair<char, std::size_t>::first);
  return found == children.end() ? 0 : found->second;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer)
    : tokens_(std::move(tokens)) {
  std::unordered_map<std::string_view, bool> contents;
  std::string buffer;
  for (std::size_t place = 0; place < tokens_.size(); ++place) {
    const AddedToken& token = tokens_[place];
    if (!contents.emplace(token.content, true).second) {
      throw Problem(
          fmt::format("must have each token once, has {} twice", in_quotes(token.content)));
    }
    Trie& trie = token.normalized ? as_normalized_ : as_is_;
    const std::string& pattern = patterns_.emplace_back(
        token.normalized ? normalizer.apply(token.content, buffer) : token.content);
    if (!pattern.empty()) {
      trie.add(pattern, place);
    }
  }
}

/// The first of all places at which tokens begin, and the longest token there.
std::optional<AddedTokens::Found> AddedTokens::find(const Trie& trie, std::string_view text,
                                                    std::size_t offset) {
  if (trie.nodes.size() == 1) {
    return std::nullopt;
  }
  const auto& begins = trie.nodes.front().children;
  for (; offset < text.size(); ++offset) {
    if (begins.size() == 1) {
      offset = text.find(begins.front().first, offset);
      if (offset == std::string_view::npos) {
        break;
      }
    }
    std::size_t node = trie.first[static_cast<std::uint8_t>(text[offset])];
    std::optional<Found> longest;
    for (std::size_t end = offset + 1; node != 0; ++end) {
      if (trie.nodes[node].token) {
        longest = Found{offset, end, *trie.nodes[node].token};
      }
      node = end < text.size() ? trie.child(node, text[end]) : 0;
    }
    if (longest) {
      return longest;
    }
  }
  return std::nullopt;
}

void AddedTokens::cut(TextPart part, bool normalized, const IsText& is_text,
                      std::vector<TextPart>& parts) const {
  const Trie& trie = normalized ? as_normalized_ : as_is_;
  const std::string_view text = part.text;
  const auto put = [&](std::size_t begin, std::size_t end, std::optional<Id> token) {
    if (begin < end) {
      parts.push_back({text.substr(begin, end - begin), token, part.first && begin == 0});
    }
  };
  std::size_t done = 0;
  std::size_t from = 0;
  while (const auto found = find(trie, text, from)) {
    from = found->end;
    const AddedToken& token = tokens_[found->token];
    if (is_text(found->token, found->begin, found->end) ||
        (token.single_word && touches_word(text, found->begin, found->end))) {
      continue;
    }
    std::size_t begin = found->begin;
    std::size_t end = found->end;
    if (token.lstrip) {
      while (begin > done && is_white_space(character_before(text, begin).code)) {
        begin -= character_before(text, begin).length;
      }
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      while (end < text.size() && is_white_space(character_at(text, end).code)) {
        end += character_at(text, end).length;
      }
    }
    put(done, begin, std::nullopt);
    put(begin, end, token.id);
    done = end;
  }
  put(done, text.size(), std::nullopt);
}

}  // namespace kvcache::text
