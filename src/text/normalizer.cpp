#include "text/normalizer.hpp"

#include "base/throw_error.hpp"
#include "text/byte_alphabet.hpp"
#include "text/normal_form.hpp"

namespace kvcache::text {
namespace {

// What real normalizers stay far below: the longest of Unicode's decompositions is 18 times as
// long.
constexpr std::size_t kMostGrowth = 64;
constexpr std::size_t kFreeGrowth = std::size_t{1} << 16U;

/// Each step writes `next` and returns whether that is another text.
struct ApplyNormalizer {
  std::string_view text;
  std::string& next;

  bool operator()(NormalForm form) const { return normalize(text, form, next); }
  bool operator()(const Prepend& prepend) const {
    if (text.empty()) {
      return false;
    }
    next = prepend.content;
    next += text;
    return true;
  }
  bool operator()(const Replace& replace) const {
    next = replace.apply(text);
    return true;
  }
  bool operator()(BytesAsCharacters /*step*/) const {
    next = to_byte_alphabet(text);
    return true;
  }
};

}  // namespace

std::string Replace::apply(std::string_view text) const {
  std::vector<Span> spans;
  pattern.find_all(text, spans);
  std::string replaced;
  replaced.reserve(text.size());
  for (const Span& span : spans) {
    replaced +=
        span.match ? std::string_view(content) : text.substr(span.begin, span.end - span.begin);
  }
  return replaced;
}

std::string_view Normalizer::apply(std::string_view text, std::string& buffer) const {
  const std::size_t most = kMostGrowth * text.size() + kFreeGrowth;
  std::string next;
  for (const NormalizerStep& step : steps_) {
    if (text.size() > most) {  // a file's steps may each multiply it
      throw_error(ErrorCode::tokenizer_invalid,
                  "the text was not encoded: the tokenizer's normalizer makes {} bytes and more of "
                  "it, at most {} are allowed; use another tokenizer",
                  text.size(), most);
    }
    if (std::visit(ApplyNormalizer{text, next}, step)) {
      std::swap(buffer, next);
      text = buffer;
    }
  }
  return text;
}

}  // namespace kvcache::text
