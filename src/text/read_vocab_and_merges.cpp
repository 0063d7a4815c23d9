// The older pair of files: vocab.json and merges.txt.
#include <fmt/format.h>

#include "base/throw_error.hpp"
#include "text/problem.hpp"
#include "text/read_tokenizer.hpp"
#include "text/vocabulary_files.hpp"

namespace kvcache::text {
namespace {

// What is the same in every one of these: the pattern of GPT-2, and the token that ends a text.
constexpr std::string_view kEndOfText = "<|endoftext|>";
constexpr std::string_view kVersionLine = "#version";

Merges read_merges(std::string_view text, const std::string& name, const Vocabulary& vocabulary) {
  Merges merges;
  std::size_t line_number = 0;
  std::int32_t rank = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.starts_with(kVersionLine)) {
      continue;
    }
    try {
      add_rule(rule_of_line(line), vocabulary, merges, rank++);
    } catch (const Problem& problem) {
      const JsonSource source = tokenizer_source(name);
      throw_error(source.code, "{}: line {} is {}, {}; {}", name, line_number, in_quotes(line),
                  problem.what(), source.advice);
    }
  }
  return merges;
}

}  // namespace

std::pair<std::string, std::string> rule_of_line(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    throw Problem("must be two tokens with a space between them");
  }
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

Pipeline read_vocab_and_merges(std::string_view vocab, const std::string& vocab_name,
                               std::string_view merges, const std::string& merges_name) {
  const JsonDocument document(vocab, tokenizer_source(vocab_name));
  Vocabulary vocabulary = read_vocabulary(document.root());
  Merges rules = read_merges(merges, merges_name, vocabulary);
  std::vector<AddedToken> added;
  if (const auto id = vocabulary.find(kEndOfText)) {
    added.push_back({.id = *id, .content = std::string(kEndOfText), .special = true});
  }
  std::vector<PreTokenizerStep> steps;
  steps.emplace_back(byte_level_split());
  steps.emplace_back(AsBytes());
  Normalizer normalizer;
  AddedTokens added_tokens(std::move(added), normalizer);
  return {.added_tokens = std::move(added_tokens),
          .normalizer = std::move(normalizer),
          .pre_tokenizer = PreTokenizer(std::move(steps)),
          .model = Bpe(std::move(vocabulary), std::move(rules), {}, true),
          .post_processor = {},
          .decoder = {ByteLevelDecoder()}};
}

}  // namespace kvcache::text
