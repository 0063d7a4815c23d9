#include "text/token_table.hpp"

#include <algorithm>

#include "base/throw_error.hpp"

namespace kvcache::text {

TokenTable::TokenTable(const Vocabulary& vocabulary, const AddedTokens& added)
    : vocabulary_(&vocabulary), decoded_(vocabulary.end_id()) {
  for (std::size_t id = 0; id < decoded_.size(); ++id) {
    decoded_[id].text = vocabulary.text_of(static_cast<TokenId>(id)).value_or(std::string_view());
  }
  for (std::size_t place = 0; place < added.tokens().size(); ++place) {
    const AddedToken& token = added.tokens()[place];
    const auto id = static_cast<std::size_t>(token.id);
    decoded_.resize(std::max(decoded_.size(), id + 1));
    // As the reference: what is skipped is what reads like a special token once it is decoded.
    decoded_[id] = {added.decoded(place), token.special && added.decoded(place) == token.content};
    added_ids_.emplace(token.content, token.id);
    added_texts_.emplace(token.id, token.content);
  }
}

const DecodedToken& TokenTable::at(TokenId id) const {
  if (!has(id)) {
    throw_error(ErrorCode::token_out_of_range,
                "the tokens were not decoded: no token has the id {}, ids are from 0 to {}; check "
                "that the tokenizer is the model's",
                id, static_cast<std::int64_t>(decoded_.size()) - 1);
  }
  return decoded_[static_cast<std::size_t>(id)];
}

bool TokenTable::is_special(TokenId id) const noexcept {
  return has(id) && decoded_[static_cast<std::size_t>(id)].special;
}

std::optional<TokenId> TokenTable::find(std::string_view text) const noexcept {
  const auto found = added_ids_.find(text);
  if (found != added_ids_.end()) {
    return found->second;
  }
  return vocabulary_->find(text);
}

std::optional<std::string_view> TokenTable::text_of(TokenId id) const noexcept {
  const auto found = added_texts_.find(id);
  return found != added_texts_.end() ? std::optional(found->second) : vocabulary_->text_of(id);
}

}  // namespace kvcache::text
