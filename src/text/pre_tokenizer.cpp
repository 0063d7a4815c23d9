#include "text/pre_tokenizer.hpp"

#include "text/byte_alphabet.hpp"

namespace kvcache::text {
namespace {

/// One step over all pieces.
class ApplyPreTokenizer {
 public:
  ApplyPreTokenizer(std::vector<Piece>& pieces, std::deque<std::string>& made)
      : pieces_(pieces), made_(made) {}

  void operator()(const Split& split) const {
    cut([&](std::string_view text, std::vector<Span>& spans) {
      split.pattern.find_all(text, spans);
      if (split.invert) {
        for (Span& span : spans) {
          span.match = !span.match;
        }
      }
      merge_spans(spans, split.behavior);
    });
  }

  void operator()(PrefixSpace /*step*/) const {
    for (Piece& piece : pieces_) {
      if (!piece.text.starts_with(' ')) {
        piece.text = keep(std::string(1, ' ').append(piece.text));
      }
    }
  }

  void operator()(AsBytes /*step*/) const {
    for (Piece& piece : pieces_) {
      piece.text = keep(to_byte_alphabet(piece.text));
    }
  }

  void operator()(const Metaspace& metaspace) const {
    for (Piece& piece : pieces_) {
      piece.text = keep(with_replacements(piece, metaspace));
    }
    if (metaspace.split) {
      cut([&](std::string_view text, std::vector<Span>& spans) {
        find_characters(text, metaspace.replacement, spans);
        merge_spans(spans, SplitBehavior::merged_with_next);
      });
    }
  }

 private:
  std::string_view keep(std::string text) const { return made_.emplace_back(std::move(text)); }

  /// Puts the parts that `find_parts` finds of a piece in the piece's place.
  template <typename FindParts>
  void cut(FindParts find_parts) const {
    std::vector<Piece> parts;
    parts.reserve(pieces_.size());
    std::vector<Span> spans;
    for (const Piece& piece : pieces_) {
      spans.clear();
      find_parts(piece.text, spans);
      for (const Span& span : spans) {
        parts.push_back(
            {piece.text.substr(span.begin, span.end - span.begin), piece.first && span.begin == 0});
      }
    }
    pieces_ = std::move(parts);
  }

  static std::string with_replacements(const Piece& piece, const Metaspace& metaspace) {
    using Scheme = Metaspace::PrependScheme;
    std::string text;
    const bool prepends = metaspace.prepend_scheme == Scheme::always ||
                          (metaspace.prepend_scheme == Scheme::first && piece.first);
    if (prepends && !piece.text.starts_with(' ') &&
        !piece.text.starts_with(metaspace.replacement)) {
      text = metaspace.replacement;
    }
    for (const char byte : piece.text) {
      if (byte == ' ') {
        text += metaspace.replacement;
      } else {
        text += byte;
      }
    }
    return text;
  }

  static void find_characters(std::string_view text, std::string_view character,
                              std::vector<Span>& spans) {
    std::size_t end = 0;
    for (std::size_t found = text.find(character); found != std::string_view::npos;
         found = text.find(character, end)) {
      if (found > end) {
        spans.push_back({end, found, false});
      }
      end = found + character.size();
      spans.push_back({found, end, true});
    }
    if (end < text.size()) {
      spans.push_back({end, text.size(), false});
    }
  }

  std::vector<Piece>& pieces_;
  std::deque<std::string>& made_;
};

/// Whether what becomes of a span does not depend on its neighbours.
bool keeps_spans_apart(SplitBehavior behavior) {
  return behavior == SplitBehavior::isolated || behavior == SplitBehavior::removed;
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {
  if (!steps_.empty() && std::holds_alternative<AsBytes>(steps_.back())) {
    steps_.pop_back();
    ends_as_bytes_ = true;
  }
  if (auto* split = steps_.empty() ? nullptr : std::get_if<Split>(&steps_.back());
      split != nullptr && keeps_spans_apart(split->behavior)) {
    last_cut_ = std::move(*split);
    steps_.pop_back();
  }
}

void PreTokenizer::for_each_word(Piece text, std::vector<Piece>& pieces,
                                 std::deque<std::string>& made,
                                 const std::function<void(std::string_view)>& visit) const {
  pieces.assign(1, text);
  for (const PreTokenizerStep& step : steps_) {
    std::visit(ApplyPreTokenizer(pieces, made), step);
  }
  for (const Piece& piece : pieces) {
    if (!last_cut_) {
      visit(piece.text);
      continue;
    }
    const bool removes = last_cut_->behavior == SplitBehavior::removed;
    last_cut_->pattern.for_each(piece.text, [&](const Span& span) {
      if (!removes || span.match == last_cut_->invert) {
        visit(piece.text.substr(span.begin, span.end - span.begin));
      }
    });
  }
}

}  // namespace kvcache::text
