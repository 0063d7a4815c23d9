// How a normalised text is cut into words, within which alone tokens are merged.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/pattern.hpp"
#include "text/split.hpp"

namespace kvcache::text {

/// Cuts at the matches of a pattern, or, inverted, at what lies between them.
struct Split {
  Pattern pattern;
  SplitBehavior behavior;
  bool invert;
};

/// Puts a space before a piece that begins with none.
struct PrefixSpace {};

/// Every byte as its character of byte-level BPE's alphabet.
struct AsBytes {};

/// SentencePiece's way with spaces.
struct Metaspace {
  enum class PrependScheme { first, never, always };

  std::string replacement;  // one character, for each space
  PrependScheme prepend_scheme;
  bool split;  // cuts before each of them
};

using PreTokenizerStep = std::variant<Split, PrefixSpace, AsBytes, Metaspace>;

/// A piece of a text, in it or in what pre-tokenising has made.
struct Piece {
  std::string_view text;
  bool first;  // begins where the whole text that is encoded does
};

class PreTokenizer {
 public:
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps = {});

  /// Whether the last step is AsBytes: apply() leaves it to whoever reads the pieces, for their
  /// bytes say the same.
  [[nodiscard]] bool ends_as_bytes() const noexcept { return ends_as_bytes_; }

  /// Cuts `pieces`, none of which is empty, in place. What is made anew is kept in `made`.
  /// @throws Error run_failed as Pattern::find_all
  void apply(std::vector<Piece>& pieces, std::deque<std::string>& made) const;

 private:
  std::vector<PreTokenizerStep> steps_;  // without the last one where ends_as_bytes_
  bool ends_as_bytes_ = false;
};

}  // namespace kvcache::text
