// Byte-pair encoding: a word to its tokens.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kvcache/types.hpp"
#include "text/merges.hpp"
#include "text/pair_set.hpp"
#include "text/vocabulary.hpp"
#include "text/word_cache.hpp"

namespace kvcache::text {

struct BpeOptions {
  std::optional<std::string> unk_token;  // of characters without a token; else they are left out
  bool fuse_unk = false;                 // one for several side by side
  bool byte_fallback = false;            // <0xE2> <0x82> <0xAC> instead, where these are tokens
  bool ignore_merges = false;            // a word that is a token is that token
};

class Bpe {
 public:
  /// `as_bytes`: words are bytes, of which the vocabulary has the characters of byte-level BPE.
  Bpe(Vocabulary vocabulary, Merges merges, BpeOptions options, bool as_bytes);

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

  /// Appends the tokens of a word.
  /// @throws Error tokenizer_invalid where a character needs an unk_token that is no token
  void encode(std::string_view word, WordCache& cache, std::vector<TokenId>& tokens) const;

 private:
  static constexpr std::size_t kBytes = 256;
  static constexpr Id kNoId = -1;

  void learn_characters();
  void learn_neighbours(const Merges& merges);
  [[nodiscard]] Id id_of(char32_t code) const noexcept;
  [[nodiscard]] Id unknown() const;
  bool append_whole(std::string_view word, std::vector<TokenId>& tokens) const;
  void encode_part(std::string_view part, bool as_bytes, WordCache& cache,
                   std::vector<TokenId>& tokens) const;
  void first_tokens(std::string_view part, std::vector<Id>& ids) const;
  bool append_bytes(std::string_view character, std::vector<Id>& ids) const;

  Vocabulary vocabulary_;
  Merges merges_;
  BpeOptions options_;
  bool as_bytes_;
  bool every_byte_;                    // is a token: of words as bytes
  std::array<Id, kBytes> byte_ids_{};  // of its character where as_bytes_, else of <0xHH>
  std::vector<Id> character_ids_;      // of U+0000 to U+FFFF
  std::unordered_map<char32_t, Id> others_;
  bool cuts_;           // a word may be cut where neighbours_ has no pair
  PairSet neighbours_;  // characters side by side in what merging can make
};

}  // namespace kvcache::text
