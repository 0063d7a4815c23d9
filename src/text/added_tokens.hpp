// Tokens that are cut out of a text before it is split: special ones, and others added to a model.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/normalizer.hpp"
#include "text/vocabulary.hpp"

namespace kvcache::text {

struct AddedToken {
  Id id = 0;
  std::string content;
  bool single_word = false;  // only where no letter, digit or mark is beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = false;   // looked for in the normalised text, as normalised itself
  bool special = false;
};

/// A part of a text: a token that was found, or what lies between tokens.
struct TextPart {
  std::string_view text;
  std::optional<Id> token;
  bool first;  // begins where the whole text does
};

class AddedTokens {
 public:
  /// Whether a token that was found at [begin, end) of a part, by its place in tokens(), is text
  /// like any other.
  using IsText = std::function<bool(std::size_t token, std::size_t begin, std::size_t end)>;

  AddedTokens() = default;
  /// @throws Problem where two tokens have the same text
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  [[nodiscard]] const std::vector<AddedToken>& tokens() const noexcept { return tokens_; }
  /// What stands for a token, by its place in tokens(), when ids are decoded; and what is looked
  /// for.
  [[nodiscard]] std::string_view decoded(std::size_t place) const noexcept {
    return patterns_[place];
  }

  /// Appends `part` cut at the tokens that are looked for in text as it came, or as normalised.
  void cut(TextPart part, bool normalized, const IsText& is_text,
           std::vector<TextPart>& parts) const;

 private:
  /// A tree of the tokens' bytes.
  struct Node {
    std::vector<std::pair<char, std::size_t>> children;
    std::optional<std::size_t> token;  // its place
  };
  struct Trie {
    std::vector<Node> nodes{Node{}};
    std::vector<std::size_t> first =
        std::vector<std::size_t>(256, 0);  // child of the root, by byte

    void add(std::string_view text, std::size_t token);
    [[nodiscard]] std::size_t child(std::size_t node, char byte) const noexcept;
  };
  struct Found {
    std::size_t begin;
    std::size_t end;
    std::size_t token;
  };
  static std::optional<Found> find(const Trie& trie, std::string_view text, std::size_t offset);

  std::vector<AddedToken> tokens_;
  std::vector<std::string> patterns_;  // what is looked for
  Trie as_is_;
  Trie as_normalized_;
};

}  // namespace kvcache::text
