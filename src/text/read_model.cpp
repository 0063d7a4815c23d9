// The model of a tokenizer.json: vocabulary, merges and options.
#include <fmt/format.h>

#include <array>

#include "base/throw_error.hpp"
#include "text/problem.hpp"
#include "text/read_tokenizer.hpp"
#include "text/vocabulary_files.hpp"

namespace kvcache::text {
namespace {

constexpr std::string_view kModel = "BPE";

/// A rule's two tokens, written as an array or with a space between them.
std::pair<std::string, std::string> read_rule(const JsonValue& rule) {
  if (!rule.is_text()) {
    const auto tokens = rule.elements();
    if (tokens.size() != 2) {
      rule.refuse("must be two tokens");
    }
    return {tokens[0].text(), tokens[1].text()};
  }
  return read_part(rule, [&] { return rule_of_line(rule.text()); });
}

std::optional<std::string> read_optional_text(const JsonValue& object, std::string_view name) {
  return is_given(object, name) ? std::optional(object.field(name).text()) : std::nullopt;
}

/// What changes tokens in a way that nothing here does.
void refuse_unsupported(const JsonValue& value) {
  if (is_given(value, "dropout") && value.field("dropout").number(0, 1) != 0) {
    value.field("dropout").refuse("must be null: dropout is for training");
  }
  for (const std::string_view name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto text = read_optional_text(value, name);
    if (text && !text->empty()) {
      value.field(name).refuse("must be null: it is not supported");
    }
  }
}

}  // namespace

Vocabulary read_vocabulary(const JsonValue& value) {
  Vocabulary vocabulary;
  for (const auto& [token, id] : value.fields()) {
    read_part(value, [&, &token = token, &id = id] {
      vocabulary.add(token, static_cast<Id>(id.integer(0, kMostTokens - 1)));
    });
  }
  return vocabulary;
}

void add_rule(const std::pair<std::string, std::string>& rule, const Vocabulary& vocabulary,
              Merges& merges, std::int32_t rank) {
  const auto id_of = [&](const std::string& token) {
    const auto id = vocabulary.find(token);
    if (!id) {
      throw Problem(
          fmt::format("must merge tokens of the vocabulary, which has no {}", in_quotes(token)));
    }
    return *id;
  };
  const Id left = id_of(rule.first);
  const Id right = id_of(rule.second);
  merges.add(left, right, {rank, id_of(rule.first + rule.second)});
}

Bpe read_model(const JsonValue& value, bool as_bytes) {
  if (value.has("type")) {
    (void)value.field("type").text_of(std::array{kModel});
  }
  refuse_unsupported(value);
  Vocabulary vocabulary = read_vocabulary(value.field("vocab"));
  Merges merges;
  std::int32_t rank = 0;
  for (const JsonValue& rule : value.field("merges").elements()) {
    if (rule.is_text() && rule.text().starts_with("#version")) {
      continue;  // merges.txt taken over line by line
    }
    read_part(rule, [&] { add_rule(read_rule(rule), vocabulary, merges, rank++); });
  }
  return {std::move(vocabulary), std::move(merges),
          BpeOptions{.unk_token = read_optional_text(value, "unk_token"),
                     .fuse_unk = read_flag(value, "fuse_unk", false),
                     .byte_fallback = read_flag(value, "byte_fallback", false),
                     .ignore_merges = read_flag(value, "ignore_merges", false)},
          as_bytes};
}

}  // namespace kvcache::text
