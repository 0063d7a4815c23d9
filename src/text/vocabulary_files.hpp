// What tokenizer.json and the pair of vocab.json and merges.txt have in common.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/checked_json.hpp"
#include "text/merges.hpp"
#include "text/vocabulary.hpp"

namespace kvcache::text {

/// An object of ids by token.
/// @throws Error tokenizer_invalid
Vocabulary read_vocabulary(const JsonValue& value);

/// The two tokens of a line such as "Ġ t".
/// @throws Problem where there are not two
std::pair<std::string, std::string> rule_of_line(std::string_view line);

/// Adds the rule that merges two tokens of the vocabulary to a third.
/// @throws Problem naming the token that is not there
void add_rule(const std::pair<std::string, std::string>& rule, const Vocabulary& vocabulary,
              Merges& merges, std::int32_t rank);

}  // namespace kvcache::text
