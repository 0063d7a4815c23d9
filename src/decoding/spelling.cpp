#include "decoding/spelling.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"

namespace kvcache::decoding {
namespace {

/// A state, and the tokens that begin with what led to it.
struct SpellingStep {
  PrefixRange tokens;
  PrefixRange texts;
};

/// Of a node of the texts' trie: its first text and its depth, both below 2^32.
std::uint64_t key_of(const PrefixRange& state) noexcept {
  return static_cast<std::uint64_t>(state.begin) << 32U | state.depth;
}

}  // namespace

Spelling::Spelling(std::vector<std::string> texts, std::shared_ptr<const TokenBytes::Table> tokens)
    : texts_(std::move(texts)), tokens_(std::move(tokens)) {
  if (!tokens_->every_byte) {  // else each text can be completed byte by byte
    find_dead_ends();
  }
}

/// Calls take(spelling, state) for each spelling of tokens that texts of a state go on with, dead
/// ends too: both tries are walked side by side, byte by byte. The walk is no recursion, for tokens
/// may be of any length.
template <typename Take>
void Spelling::for_each_spelling(const PrefixRange& state, const Take& take) const {
  const PrefixRanges<std::string>& spellings = tokens_->spellings;
  std::vector<SpellingStep> waiting{{spellings.all(), state}};
  while (!waiting.empty()) {
    const SpellingStep step = waiting.back();
    waiting.pop_back();
    if (step.tokens.depth > 0 && spellings.ends(step.tokens)) {
      take(step.tokens.begin, step.texts);
    }
    // The bytes of whichever are fewer, in the others.
    if (step.texts.size() <= step.tokens.size()) {
      texts_.for_each_next(step.texts, [&](char byte, const PrefixRange& texts) {
        const PrefixRange tokens = spellings.next(step.tokens, byte);
        if (tokens.size() > 0) {
          waiting.push_back({tokens, texts});
        }
      });
    } else {
      spellings.for_each_next(step.tokens, [&](char byte, const PrefixRange& tokens) {
        const PrefixRange texts = texts_.next(step.texts, byte);
        if (texts.size() > 0) {
          waiting.push_back({tokens, texts});
        }
      });
    }
  }
}

void Spelling::allow_next(const PrefixRange& state, TokenMask& mask) const {
  for_each_spelling(state, [&](std::size_t spelling, const PrefixRange& after) {
    if (leads_on(after)) {
      for (const TokenId token : tokens_->tokens_of(spelling)) {
        mask.allow(token);
      }
    }
  });
}

std::optional<PrefixRange> Spelling::after(const PrefixRange& state, TokenId token) const {
  if (token < 0 || token >= static_cast<TokenId>(vocab_size())) {
    return std::nullopt;
  }
  const std::string_view bytes = tokens_->of_token[static_cast<std::size_t>(token)];
  PrefixRange found = state;
  for (const char byte : bytes) {
    found = texts_.next(found, byte);
    if (found.size() == 0) {
      return std::nullopt;
    }
  }
  return !bytes.empty() && leads_on(found) ? std::optional(found) : std::nullopt;
}

/// Walks over the states that tokens lead to, and then back from the ends of texts.
void Spelling::find_dead_ends() {
  std::vector<PrefixRange> states{begin()};
  std::unordered_set<std::uint64_t> reached{key_of(begin())};
  for (std::size_t next = 0; next < states.size(); ++next) {
    const PrefixRange state = states[next];
    for_each_spelling(state, [&](std::size_t /*spelling*/, const PrefixRange& after) {
      if (reached.insert(key_of(after)).second) {
        states.push_back(after);
      }
    });
  }
  check_reached(reached);
  std::ranges::stable_sort(states, std::greater<>(), &PrefixRange::depth);
  for (const PrefixRange& state : states) {
    bool is_alive = ends(state);
    if (!is_alive) {
      for_each_spelling(state, [&](std::size_t /*spelling*/, const PrefixRange& after) {
        is_alive = is_alive || alive_.contains(key_of(after));
      });
    }
    if (is_alive) {
      alive_.insert(key_of(state));
    }
  }
}

void Spelling::check_reached(const std::unordered_set<std::uint64_t>& reached) const {
  const std::vector<std::string>& texts = texts_.items();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!reached.contains(key_of({i, i + 1, texts[i].size()}))) {
      throw_error(ErrorCode::invalid_argument,
                  "no tokens spell the choice {}: the vocabulary lacks some of its bytes, alone or "
                  "with others; leave it out, or write it otherwise",
                  in_quotes(texts[i]));
    }
  }
}

bool Spelling::leads_on(const PrefixRange& state) const {
  return tokens_->every_byte || alive_.contains(key_of(state));
}

}  // namespace kvcache::decoding
