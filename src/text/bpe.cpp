#include "text/bpe.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"
#include "text/byte_alphabet.hpp"
#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

constexpr std::size_t kCommonCodes = 0x10000;

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, Merges merges, BpeOptions options, bool as_bytes)
    : vocabulary_(std::move(vocabulary)),
      merges_(std::move(merges)),
      options_(std::move(options)),
      as_bytes_(as_bytes),
      character_ids_(kCommonCodes, kNoId) {
  learn_characters();
  for (std::size_t byte = 0; byte < kBytes; ++byte) {
    std::string text;
    if (as_bytes) {
      append(text, character_of_byte(static_cast<std::uint8_t>(byte)));
    } else {
      text = fmt::format("<0x{:02X}>", byte);
    }
    byte_ids_[byte] = vocabulary_.find(text).value_or(kNoId);
  }
  every_byte_ = as_bytes && std::ranges::find(byte_ids_, kNoId) == byte_ids_.end();
  // What stands for characters that it is not the text of must not be merged with its neighbours,
  // else no place is safe to cut at.
  const Id unk = options_.unk_token ? vocabulary_.find(*options_.unk_token).value_or(kNoId) : kNoId;
  cuts_ = !merges_.names_any([&](Id id) {
    return id == unk ||
           (options_.byte_fallback && std::ranges::find(byte_ids_, id) != byte_ids_.end());
  });
  if (cuts_ && !every_byte_) {
    learn_neighbours(merges_);
  }
}

void Bpe::learn_characters() {
  for (std::size_t id = 0; id < vocabulary_.end_id(); ++id) {
    const auto text = vocabulary_.text_of(static_cast<std::int64_t>(id));
    if (!text || text->empty()) {
      continue;
    }
    const Character character = character_at(*text, 0);
    if (character.length != text->size()) {
      continue;
    }
    if (character.code < kCommonCodes) {
      character_ids_[character.code] = static_cast<Id>(id);
    } else {
      others_.emplace(character.code, static_cast<Id>(id));
    }
  }
}

void Bpe::learn_neighbours(const Merges& merges) {
  merges.for_each_merged([&](Id id) {
    const std::string_view text = *vocabulary_.text_of(id);
    Character left = character_at(text, 0);
    for (std::size_t offset = left.length; offset < text.size();) {
      const Character right = character_at(text, offset);
      neighbours_.add(left.code, right.code);
      offset += right.length;
      left = right;
    }
  });
}

Id Bpe::id_of(char32_t code) const noexcept {
  if (code < kCommonCodes) {
    return character_ids_[code];
  }
  const auto found = others_.find(code);
  return found == others_.end() ? kNoId : found->second;
}

void Bpe::encode(std::string_view word, WordCache& cache, std::vector<TokenId>& tokens) const {
  if (as_bytes_ && every_byte_) {
    return encode_part(word, true, cache, tokens);
  }
  std::string characters;
  if (as_bytes_) {
    characters = to_byte_alphabet(word);
    word = characters;
  }
  if (options_.ignore_merges && append_whole(word, tokens)) {
    return;
  }
  if (!cuts_) {
    return encode_part(word, false, cache, tokens);
  }
  // Nothing is ever merged across two characters that have tokens and that no merged token holds
  // side by side: the parts around them are words of their own, which the cache may know.
  std::size_t begin = 0;
  char32_t left = 0;
  bool left_known = false;
  for (std::size_t offset = 0; offset < word.size();) {
    const Character right = character_at(word, offset);
    const bool right_known = id_of(right.code) != kNoId;
    if (left_known && right_known && !neighbours_.has(left, right.code)) {
      encode_part(word.substr(begin, offset - begin), false, cache, tokens);
      begin = offset;
    }
    left = right.code;
    left_known = right_known;
    offset += right.length;
  }
  encode_part(word.substr(begin), false, cache, tokens);
}

bool Bpe::append_whole(std::string_view word, std::vector<TokenId>& tokens) const {
  const auto id = vocabulary_.find(word);
  if (id) {
    tokens.push_back(*id);
  }
  return id.has_value();
}

void Bpe::encode_part(std::string_view part, bool as_bytes, WordCache& cache,
                      std::vector<TokenId>& tokens) const {
  CachedWord& cached = cache.place_of(part);
  if (const auto known = cached.find(part); !known.empty()) {
    tokens.insert(tokens.end(), known.begin(), known.end());
    return;
  }
  std::vector<Id> ids;
  const auto whole =
      as_bytes && options_.ignore_merges ? vocabulary_.find(to_byte_alphabet(part)) : std::nullopt;
  if (whole) {
    ids.push_back(*whole);
  } else {
    ids.reserve(part.size());
    if (as_bytes) {
      std::ranges::transform(part, std::back_inserter(ids),
                             [&](char byte) { return byte_ids_[static_cast<std::uint8_t>(byte)]; });
    } else {
      first_tokens(part, ids);
    }
    merges_.apply(ids);
  }
  cached.keep(part, ids);
  tokens.insert(tokens.end(), ids.begin(), ids.end());
}

Id Bpe::unknown() const {
  const auto id = vocabulary_.find(*options_.unk_token);
  if (!id) {
    throw_error(ErrorCode::tokenizer_invalid,
                "the text was not encoded: it has a character without a token, and the unk_token "
                "{} is no token of the vocabulary either; use another tokenizer",
                in_quotes(*options_.unk_token));
  }
  return *id;
}

/// A token a character, as the reference does it: an unk_token is put down when the next character
/// that has a token comes, or the next without one, but not at bytes.
void Bpe::first_tokens(std::string_view part, std::vector<Id>& ids) const {
  Id unk = kNoId;  // that is yet to be put down
  for (std::size_t offset = 0; offset < part.size();) {
    const Character character = character_at(part, offset);
    const std::string_view text = part.substr(offset, character.length);
    offset += character.length;
    const Id id = id_of(character.code);
    if (id != kNoId) {
      if (unk != kNoId) {
        ids.push_back(unk);
        unk = kNoId;
      }
      ids.push_back(id);
    } else if (!(options_.byte_fallback && append_bytes(text, ids)) && options_.unk_token) {
      if (unk != kNoId && !options_.fuse_unk) {
        ids.push_back(unk);
      }
      unk = unknown();
    }
  }
  if (unk != kNoId) {
    ids.push_back(unk);
  }
}

bool Bpe::append_bytes(std::string_view character, std::vector<Id>& ids) const {
  const auto id = [&](char byte) {
    // Words as bytes: byte_ids_ are the alphabet's, and <0xHH> is rarely there.
    return as_bytes_ ? vocabulary_.find(fmt::format("<0x{:02X}>", static_cast<std::uint8_t>(byte)))
                           .value_or(kNoId)
                     : byte_ids_[static_cast<std::uint8_t>(byte)];
  };
  if (std::ranges::any_of(character, [&](char byte) { return id(byte) == kNoId; })) {
    return false;
  }
  std::ranges::transform(character, std::back_inserter(ids), id);
  return true;
}

}  // namespace kvcache::text
