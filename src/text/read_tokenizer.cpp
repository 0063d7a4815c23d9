// tokenizer.json as a whole, and what readers of its parts share.
#include "text/read_tokenizer.hpp"

#include <fmt/format.h>

#include <array>

#include "text/problem.hpp"
#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

/// A part that may be missing or null.
template <typename Part, typename Read>
Part read_optional(const JsonValue& root, std::string_view name, Read read) {
  return is_given(root, name) ? read(root.field(name)) : Part();
}

void refuse_given(const JsonValue& root, std::string_view name) {
  if (is_given(root, name)) {
    root.field(name).refuse("must be null: all of a text is encoded, and nothing else");
  }
}

}  // namespace

JsonSource tokenizer_source(const std::string& name) {
  return {.name = name,
          .code = ErrorCode::tokenizer_invalid,
          .advice =
              "docs/TOKENIZER.md says what is supported; export the tokenizer again, or use "
              "another"};
}

bool is_given(const JsonValue& object, std::string_view name) {
  return object.has(name) && !object.field(name).is_null();
}

bool read_flag(const JsonValue& object, std::string_view name, bool otherwise) {
  return is_given(object, name) ? object.field(name).flag() : otherwise;
}

std::string read_character(const JsonValue& value) {
  std::string text = value.text();
  if (text.empty() || character_at(text, 0).length != text.size()) {
    value.refuse("must be one character");
  }
  return text;
}

Pattern read_pattern(const JsonValue& value) {
  if (value.has("String")) {
    const JsonValue text = value.field("String");
    return read_part(text, [&] { return Pattern::of_text(text.text()); });
  }
  const JsonValue regex = value.field("Regex");
  return read_part(regex, [&] { return Pattern::of_regex(regex.text()); });
}

std::vector<AddedToken> read_added_tokens(const JsonValue& list, const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  auto next = static_cast<Id>(vocabulary.size());
  for (const JsonValue& element : list.elements()) {
    AddedToken token{.id = static_cast<Id>(element.field("id").integer(0, kMostTokens - 1)),
                     .content = element.field("content").text(),
                     .single_word = element.field("single_word").flag(),
                     .lstrip = element.field("lstrip").flag(),
                     .rstrip = element.field("rstrip").flag(),
                     .normalized = element.field("normalized").flag(),
                     .special = element.field("special").flag()};
    if (token.content.empty()) {
      continue;  // as the reference does
    }
    // The reference goes by the text, and numbers new tokens itself.
    const auto known = vocabulary.find(token.content);
    const Id expected = known ? *known : next++;
    if (token.id != expected) {
      element.field("id").refuse(fmt::format(
          "must be {}, {}", expected,
          known ? "the token's id in the vocabulary" : "the next behind those of the vocabulary"));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

Pipeline read_tokenizer_json(std::string_view text, const std::string& name) {
  const JsonDocument document(text, tokenizer_source(name));
  const JsonValue root = document.root();
  if (root.has("version")) {
    (void)root.field("version").text_of(std::array<std::string_view, 1>{"1.0"});
  }
  refuse_given(root, "truncation");
  refuse_given(root, "padding");
  auto normalizer = read_optional<Normalizer>(root, "normalizer", read_normalizer);
  auto pre_tokenizer = read_optional<PreTokenizer>(root, "pre_tokenizer", read_pre_tokenizer);
  Bpe model = read_model(root.field("model"), pre_tokenizer.ends_as_bytes());
  AddedTokens added_tokens;
  if (is_given(root, "added_tokens")) {
    const JsonValue list = root.field("added_tokens");
    added_tokens = read_part(
        list, [&] { return AddedTokens(read_added_tokens(list, model.vocabulary()), normalizer); });
  }
  auto post_processor = read_optional<PostProcessor>(root, "post_processor", read_post_processor);
  std::vector<DecoderStep> decoder{JoinDecoder()};
  if (is_given(root, "decoder")) {
    decoder = read_decoder(root.field("decoder"));
  }
  return {.added_tokens = std::move(added_tokens),
          .normalizer = std::move(normalizer),
          .pre_tokenizer = std::move(pre_tokenizer),
          .model = std::move(model),
          .post_processor = std::move(post_processor),
          .decoder = std::move(decoder)};
}

}  // namespace kvcache::text
