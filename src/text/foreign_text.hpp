// Whether a token that is written out in a text is one, or came with the text of a stranger.
#pragma once

#include <string_view>

#include "text/pipeline.hpp"

namespace kvcache::text {

/// The answer for one part of a text, as AddedTokens::cut asks for it.
class TextOrToken {
 public:
  /// `whole` is the text that the parts are of.
  TextOrToken(const Pipeline& pipeline, const Encoding& encoding, std::string_view whole)
      : pipeline_(pipeline), encoding_(encoding), whole_(whole) {}

  /// For a part of the text as it came.
  [[nodiscard]] AddedTokens::IsText in(std::string_view part) const;
  /// For what the normalizer made of such a part.
  [[nodiscard]] AddedTokens::IsText in(std::string_view part, std::string_view normalized) const;

 private:
  [[nodiscard]] bool is_foreign(std::size_t begin, std::size_t end) const;
  [[nodiscard]] bool is_foreign_by_search(std::size_t token, std::string_view part) const;
  [[nodiscard]] bool holds(std::string_view text, std::size_t token) const;

  const Pipeline& pipeline_;
  const Encoding& encoding_;
  std::string_view whole_;
};

}  // namespace kvcache::text
