// The syntax of patterns that the reference's library of regular expressions and ours both have.
#pragma once

#include <string>
#include <string_view>

namespace kvcache::text {

/// The pattern for PCRE2 that matches what `pattern` does in Oniguruma with its Ruby syntax.
///
/// Only what both take for the same passes: characters, classes without classes in them, `\s`,
/// `\d`, `\p{…}` of general categories and Han, groups, alternatives, lookahead and lookbehind,
/// `(?i:…)`, and the repetitions that are written alike.
/// @throws Problem naming what else there is
std::string translate_pattern(std::string_view pattern);

/// The pattern that matches a text literally.
std::string literal_pattern(std::string_view text);

}  // namespace kvcache::text
