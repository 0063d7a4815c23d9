#include "text/pipeline.hpp"

#include <deque>
#include <string>

#include "text/foreign_text.hpp"

namespace kvcache::text {
namespace {

constexpr std::size_t kBytesOfAToken = 3;  // or more, mostly; tokens that grow are copied

/// Encodes what lies between the tokens that are cut out of the text as it came.
class PartEncoder {
 public:
  PartEncoder(const Pipeline& pipeline, const TextOrToken& text_or_token, WordCache& cache,
              std::vector<TokenId>& tokens)
      : pipeline_(pipeline), text_or_token_(text_or_token), cache_(cache), tokens_(tokens) {}

  void encode(const TextPart& part) {
    if (part.token) {
      tokens_.push_back(*part.token);
      return;
    }
    const std::string_view normalized = pipeline_.normalizer.apply(part.text, normalized_);
    inner_.clear();
    pipeline_.added_tokens.cut({normalized, std::nullopt, part.first}, true,
                               text_or_token_.in(part.text, normalized), inner_);
    for (const TextPart& inner : inner_) {
      encode_normalized(inner);
    }
  }

 private:
  void encode_normalized(const TextPart& part) {
    if (part.token) {
      tokens_.push_back(*part.token);
      return;
    }
    pipeline_.pre_tokenizer.for_each_word(
        {part.text, part.first}, pieces_, made_,
        [this](std::string_view word) { pipeline_.model.encode(word, cache_, tokens_); });
    made_.clear();
  }

  const Pipeline& pipeline_;
  const TextOrToken& text_or_token_;
  WordCache& cache_;
  std::vector<TokenId>& tokens_;
  // What a part needs, kept for the next.
  std::string normalized_;
  std::vector<TextPart> inner_;
  std::vector<Piece> pieces_;
  std::deque<std::string> made_;
};

}  // namespace

std::vector<TokenId> encode(const Pipeline& pipeline, std::string_view text, Encoding encoding,
                            WordCache& cache) {
  std::vector<TokenId> tokens;
  tokens.reserve(text.size() / kBytesOfAToken);
  const auto put = [&](const std::vector<Id>& ids) {
    if (encoding.add_special_tokens) {
      tokens.insert(tokens.end(), ids.begin(), ids.end());
    }
  };
  put(pipeline.post_processor.before);
  std::vector<TextPart> parts;
  const TextOrToken text_or_token(pipeline, encoding, text);
  pipeline.added_tokens.cut({text, std::nullopt, true}, false, text_or_token.in(text), parts);
  PartEncoder encoder(pipeline, text_or_token, cache, tokens);
  for (const TextPart& part : parts) {
    encoder.encode(part);
  }
  put(pipeline.post_processor.behind);
  return tokens;
}

}  // namespace kvcache::text
