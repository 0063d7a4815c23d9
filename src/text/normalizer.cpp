#include "text/normalizer.hpp"

#include "text/byte_alphabet.hpp"
#include "text/normal_form.hpp"

namespace kvcache::text {
namespace {

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
  std::string next;
  for (const NormalizerStep& step : steps_) {
    if (std::visit(ApplyNormalizer{text, next}, step)) {
      std::swap(buffer, next);
      text = buffer;
    }
  }
  return text;
}

}  // namespace kvcache::text
