// A regular expression, matched as the reference matches it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/stable_text.hpp"

namespace kvcache::text {

/// A part of a text: [begin, end) in bytes, and whether it is a match or lies between two.
struct Span {
  std::size_t begin;
  std::size_t end;
  bool match;
};

/// A compiled pattern; several threads may match with it at the same time.
class Pattern {
 public:
  /// `pattern` in Oniguruma's syntax.
  /// @throws Problem where it is none, or matches an empty text, or libraries differ on it
  static Pattern of_regex(std::string_view pattern);
  /// Matches a text literally.
  /// @throws Problem where it is empty
  static Pattern of_text(std::string_view text);
  /// A pattern of ours, in PCRE2's syntax.
  static Pattern of_pcre(std::string_view pattern, Categories categories = Categories::unicode_16);

  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  /// Appends the matches in `text`, which is valid UTF-8, and what lies between them, in order: all
  /// of the text.
  /// @throws Error run_failed where matching took more steps than PCRE2 allows
  void find_all(std::string_view text, std::vector<Span>& spans) const;
  /// The same, each given to `visit`, which must not match on this thread.
  void for_each(std::string_view text, const std::function<void(const Span&)>& visit) const;

 private:
  struct Code;
  explicit Pattern(std::unique_ptr<Code> code);

  std::unique_ptr<Code> code_;
};

}  // namespace kvcache::text
