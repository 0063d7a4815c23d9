// What every id stands for, when ids are decoded.
#pragma once

#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kvcache/types.hpp"
#include "text/added_tokens.hpp"
#include "text/vocabulary.hpp"

namespace kvcache::text {

struct DecodedToken {
  std::string_view text;  // what decoders are given; no data where no token has this id
  bool special = false;   // skipped where that is asked for
};

/// Points into the vocabulary and the added tokens that it was made of.
class TokenTable {
 public:
  TokenTable(const Vocabulary& vocabulary, const AddedTokens& added);

  [[nodiscard]] bool has(TokenId id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < decoded_.size() &&
           decoded_[static_cast<std::size_t>(id)].text.data() != nullptr;
  }
  /// @throws Error token_out_of_range where no token has this id
  [[nodiscard]] const DecodedToken& at(TokenId id) const;
  [[nodiscard]] bool is_special(TokenId id) const noexcept;
  [[nodiscard]] std::optional<TokenId> find(std::string_view text) const noexcept;
  /// A token's text as its file has it.
  [[nodiscard]] std::optional<std::string_view> text_of(TokenId id) const noexcept;
  [[nodiscard]] std::size_t end_id() const noexcept { return decoded_.size(); }

 private:
  const Vocabulary* vocabulary_;
  std::unordered_map<std::string_view, TokenId, HashOfText> added_ids_;
  std::unordered_map<TokenId, std::string_view> added_texts_;
  std::vector<DecodedToken> decoded_;  // by id
};

}  // namespace kvcache::text
