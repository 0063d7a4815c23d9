#include "text/pattern_syntax.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "text/problem.hpp"

namespace kvcache::text {
namespace {

constexpr std::array<std::string_view, 38> kProperties{
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk",
    "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn", "Cs", "Han"};
constexpr std::array<std::string_view, 6> kGroups{"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i:"};

bool is_punctuation(char c) {
  return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') ||
         (c > 'z' && c < 127);
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hexadecimal(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/// Reads a pattern from its beginning to its end and writes it anew.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  std::string translate() {
    while (!rest_.empty()) {
      read_part();
    }
    return std::move(out_);
  }

 private:
  void read_part() {
    switch (rest_.front()) {
      case '\\':
        return read_escape();
      case '[':
        return read_class();
      case '(':
        return read_group();
      case '{':
        return read_count();
      case '^':
      case '$':
        refuse(rest_.substr(0, 1));
      default:
        return keep(1);
    }
  }

  void keep(std::size_t length) {
    out_ += rest_.substr(0, length);
    rest_.remove_prefix(length);
  }

  [[noreturn]] static void refuse(std::string_view part) {
    throw Problem(fmt::format(
        "must be a pattern without {}, which libraries of regular expressions read differently",
        part));
  }

  void read_escape() {
    if (rest_.size() < 2) {
      refuse("a backslash at its end");
    }
    const char kind = rest_[1];
    if (kind == 'p' || kind == 'P') {
      return read_property();
    }
    if (kind == 'u' || kind == 'x') {
      return read_code(kind);
    }
    if (std::string_view("sSdDrntfv").find(kind) != std::string_view::npos) {
      // \v is a vertical tab to Oniguruma and all vertical space to PCRE2.
      if (kind == 'v') {
        out_ += "\\x0B";
        rest_.remove_prefix(2);
        return;
      }
      return keep(2);
    }
    if (is_punctuation(kind)) {
      return keep(2);
    }
    refuse(rest_.substr(0, 2));
  }

  void read_property() {
    const std::size_t end = rest_.find('}');
    if (rest_.size() < 3 || rest_[2] != '{' || end == std::string_view::npos) {
      refuse("a property outside of braces");
    }
    std::string_view name = rest_.substr(3, end - 3);
    if (name.starts_with('^')) {
      name.remove_prefix(1);
    }
    if (std::ranges::find(kProperties, name) == kProperties.end()) {
      refuse(rest_.substr(0, end + 1));
    }
    keep(end + 1);
  }

  /// \uHHHH, \xHH or \x{H…}
  void read_code(char kind) {
    std::string_view digits = rest_.substr(2);
    std::size_t length = 0;
    if (kind == 'x' && digits.starts_with('{')) {
      const std::size_t end = digits.find('}');
      if (end == std::string_view::npos) {
        refuse("\\x{ without an end");
      }
      digits = digits.substr(1, end - 1);
      length = digits.size() + 4;
      if (digits.empty() || digits.size() > 6) {
        refuse(rest_.substr(0, length));
      }
    } else {
      digits = digits.substr(0, kind == 'u' ? 4 : 2);
      length = digits.size() + 2;
      if (digits.size() != (kind == 'u' ? 4U : 2U)) {
        refuse(rest_.substr(0, length));
      }
    }
    // A byte from 80 on is a part of a character to Oniguruma and a character to PCRE2.
    if (!std::ranges::all_of(digits, is_hexadecimal) ||
        (kind == 'x' && length == 4 && digits[0] > '7')) {
      refuse(rest_.substr(0, length));
    }
    out_ += fmt::format("\\x{{{}}}", digits);
    rest_.remove_prefix(length);
  }

  void read_class() {
    keep(1);
    if (rest_.starts_with('^')) {
      keep(1);
    }
    if (rest_.starts_with(']')) {
      refuse("a class that begins with ]");
    }
    while (!rest_.starts_with(']')) {
      if (rest_.empty()) {
        refuse("a class without an end");
      }
      if (rest_.front() == '[' || rest_.starts_with("&&")) {
        refuse(rest_.front() == '[' ? "a class in a class" : "&&");
      }
      if (rest_.front() == '\\') {
        read_escape();
      } else {
        keep(1);
      }
    }
    keep(1);
  }

  void read_group() {
    if (!rest_.starts_with("(?")) {
      out_ += "(?:";  // nothing reads what it captured
      rest_.remove_prefix(1);
      return;
    }
    for (const std::string_view group : kGroups) {
      if (rest_.starts_with(group)) {
        return keep(group.size());
      }
    }
    refuse(rest_.substr(0, 4));
  }

  /// {n}, {n,} or {n,m}
  void read_count() {
    std::size_t length = 1;
    const auto digits = [&] {
      const std::size_t begin = length;
      while (length < rest_.size() && is_digit(rest_[length])) {
        ++length;
      }
      return length - begin;
    };
    bool valid = digits() > 0;
    if (valid && length < rest_.size() && rest_[length] == ',') {
      ++length;
      digits();
    }
    valid = valid && length < rest_.size() && rest_[length] == '}';
    // Behind a count, + and ? are no mode to Oniguruma but another repetition.
    if (!valid || (length + 1 < rest_.size() &&
                   std::string_view("+?").find(rest_[length + 1]) != std::string_view::npos)) {
      refuse(valid ? "+ or ? behind a count" : "a brace that is no count");
    }
    keep(length + 1);
  }

  std::string_view rest_;
  std::string out_;
};

}  // namespace

std::string translate_pattern(std::string_view pattern) { return Translator(pattern).translate(); }

std::string literal_pattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (is_punctuation(c)) {
      pattern += '\\';
    }
    pattern += c;
  }
  return pattern;
}

}  // namespace kvcache::text
