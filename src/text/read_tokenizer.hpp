// The files of a tokenizer, read and checked.
#pragma once

#include <string>
#include <string_view>

#include "base/checked_json.hpp"
#include "text/pipeline.hpp"
#include "text/problem.hpp"

namespace kvcache::text {

/// A tokenizer from the text of its tokenizer.json; `name` is the file's, for messages.
/// @throws Error tokenizer_invalid naming the field, what it is and what it must be
Pipeline read_tokenizer_json(std::string_view text, const std::string& name);

/// GPT-2's tokenizer with another vocabulary, from the texts of its vocab.json and merges.txt.
/// @throws Error tokenizer_invalid
Pipeline read_vocab_and_merges(std::string_view vocab, const std::string& vocab_name,
                               std::string_view merges, const std::string& merges_name);

/// Calls `read`; what it finds wrong with `value` is reported with the value's place in its file.
template <typename Read>
auto read_part(const JsonValue& value, Read read) {
  try {
    return read();
  } catch (const Problem& problem) {
    value.refuse(problem.what());
  }
}

/// What stands for a mistake in a file of a tokenizer.
JsonSource tokenizer_source(const std::string& name);

// The parts of tokenizer.json, in the order that a text passes them.

std::vector<AddedToken> read_added_tokens(const JsonValue& list, const Vocabulary& vocabulary);
Normalizer read_normalizer(const JsonValue& value);
PreTokenizer read_pre_tokenizer(const JsonValue& value);
Bpe read_model(const JsonValue& value, bool as_bytes);
PostProcessor read_post_processor(const JsonValue& value);
std::vector<DecoderStep> read_decoder(const JsonValue& value);

/// What ByteLevel splits at: GPT-2's pattern.
Split byte_level_split();
/// The pattern of a Split or Replace: {"String": …} or {"Regex": …}.
Pattern read_pattern(const JsonValue& value);
/// A text of one character.
std::string read_character(const JsonValue& value);
/// A field that need not be there: whether it is, and is not null.
bool is_given(const JsonValue& object, std::string_view name);
/// A flag that need not be there.
bool read_flag(const JsonValue& object, std::string_view name, bool otherwise);

}  // namespace kvcache::text
