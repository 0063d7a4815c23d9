#include "text/vocabulary.hpp"

#include <fmt/format.h>

#include "base/checked_json.hpp"
#include "text/problem.hpp"

namespace kvcache::text {

void Vocabulary::add(std::string_view text, Id id) {
  if (id < 0 || static_cast<std::size_t>(id) >= kMostTokens) {
    throw Problem(fmt::format("must have ids from 0 to {}", kMostTokens - 1));
  }
  if (ids_.contains(text)) {
    throw Problem(fmt::format("must have each token once, has {} twice", in_quotes(text)));
  }
  const auto place = static_cast<std::size_t>(id);
  if (place < texts_.size() && texts_[place].data() != nullptr) {
    throw Problem(fmt::format("must have each id once, has {} for {} and {}", id,
                              in_quotes(texts_[place]), in_quotes(text)));
  }
  if (place >= texts_.size()) {
    texts_.resize(place + 1);
  }
  const std::string_view kept = kept_.emplace_back(text);
  texts_[place] = kept;
  ids_.emplace(kept, id);
}

std::optional<Id> Vocabulary::find(std::string_view text) const noexcept {
  const auto found = ids_.find(text);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string_view> Vocabulary::text_of(std::int64_t id) const noexcept {
  if (id < 0 || static_cast<std::size_t>(id) >= texts_.size()) {
    return std::nullopt;
  }
  const std::string_view text = texts_[static_cast<std::size_t>(id)];
  return text.data() == nullptr ? std::nullopt : std::optional(text);
}

}  // namespace kvcache::text
