// How a normalised text is cut into words, within which alone tokens are merged.
#pragma once

#include <deque>
#include <functional>
#include <optional>
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

  /// Gives the words of `text`, which is not empty, to `visit`, in order; `visit` must not match
  /// patterns. What is made anew is kept in `made`, and `pieces` is memory to work in.
  /// @throws Error run_failed as Pattern::find_all
  void for_each_word(Piece text, std::vector<Piece>& pieces, std::deque<std::string>& made,
                     const std::function<void(std::string_view)>& visit) const;

 private:
  std::vector<PreTokenizerStep> steps_;  // without those that follow
  std::optional<Split> last_cut_;        // whose words go on at once: of a text they take ten times
                                         // its memory
  bool ends_as_bytes_ = false;           // AsBytes comes last
};

}  // namespace kvcache::text
