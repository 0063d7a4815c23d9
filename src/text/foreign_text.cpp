#include "text/foreign_text.hpp"

#include <algorithm>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"

namespace kvcache::text {

AddedTokens::IsText TextOrToken::in(std::string_view part) const {
  if (encoding_.foreign == nullptr) {
    return [this](std::size_t token, std::size_t, std::size_t) {
      return encoding_.special_tokens_as_text && pipeline_.added_tokens.tokens()[token].special;
    };
  }
  const auto offset = static_cast<std::size_t>(part.data() - whole_.data());
  return [this, offset](std::size_t token, std::size_t begin, std::size_t end) {
    return encoding_.foreign->guarded[token] && is_foreign(offset + begin, offset + end);
  };
}

AddedTokens::IsText TextOrToken::in(std::string_view part, std::string_view normalized) const {
  if (encoding_.foreign == nullptr || part == normalized) {
    return in(part);
  }
  return [this, part](std::size_t token, std::size_t, std::size_t) {
    return encoding_.foreign->guarded[token] && is_foreign_by_search(token, part);
  };
}

/// Whether any byte of these is a stranger's.
bool TextOrToken::is_foreign(std::size_t begin, std::size_t end) const {
  const auto range =
      std::ranges::upper_bound(encoding_.foreign->ranges, begin, {}, &TextRange::end);
  return range != encoding_.foreign->ranges.end() && range->begin < end;
}

/// The same where places are not known, as the normalizer moved them: by what holds the token.
bool TextOrToken::is_foreign_by_search(std::size_t token, std::string_view part) const {
  const auto offset = static_cast<std::size_t>(part.data() - whole_.data());
  bool foreign = false;
  bool own = false;
  std::size_t done = offset;
  for (const TextRange& range : encoding_.foreign->ranges) {
    const std::size_t begin = std::clamp(range.begin, done, offset + part.size());
    const std::size_t end = std::clamp(range.end, begin, offset + part.size());
    own = own || holds(whole_.substr(done, begin - done), token);
    foreign = foreign || holds(whole_.substr(begin, end - begin), token);
    done = end;
  }
  own = own || holds(whole_.substr(done, offset + part.size() - done), token);
  if (own && foreign) {
    throw_error(ErrorCode::invalid_argument,
                "the text was not encoded: a message holds {}, which stands in the template beside "
                "it too, and this tokenizer's normalizer hides which is which; take it out of the "
                "message",
                in_quotes(pipeline_.added_tokens.tokens()[token].content));
  }
  return !own;
}

bool TextOrToken::holds(std::string_view text, std::size_t token) const {
  std::string buffer;
  return text.find(pipeline_.added_tokens.tokens()[token].content) != std::string_view::npos ||
         pipeline_.normalizer.apply(text, buffer).find(pipeline_.added_tokens.decoded(token)) !=
             std::string_view::npos;
}

}  // namespace kvcache::text
