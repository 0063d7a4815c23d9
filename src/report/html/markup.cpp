#include "report/html/markup.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace kvcache::report::html {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::array<std::string_view, 3> kVoidElements{"br", "meta", "wbr"};

struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 0;  // 0: what begins here is no character
};

/// The character that a text of UTF-8 begins with: of the shortest form, no surrogate.
Character first_character(std::string_view utf8) {
  const auto byte = [&](std::size_t i) {
    return i < utf8.size() ? static_cast<unsigned char>(utf8[i]) : std::uint32_t{0};
  };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80U) {
    return {lead, 1};
  }
  const std::size_t bytes = lead >= 0xF0U && lead < 0xF8U ? 4
                            : lead >= 0xE0U               ? 3
                            : lead >= 0xC0U               ? 2
                                                          : 0;
  if (bytes == 0 || lead >= 0xF8U) {
    return {};
  }
  std::uint32_t code = lead & (0x7FU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) {
      return {};
    }
    code = code << 6U | (byte(i) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800U && code < 0xE000U;
  return code < kLeast.at(bytes) || surrogate || code > 0x10FFFFU ? Character{}
                                                                  : Character{code, bytes};
}

/// Controls but for tab and line feed, and the marks that embed, override and isolate directions.
bool hides_what_is_there(std::uint32_t code) {
  return (code < 0x20U && code != '\t' && code != '\n') || (code >= 0x7FU && code < 0xA0U) ||
         (code >= 0x202AU && code <= 0x202EU) || (code >= 0x2066U && code <= 0x2069U);
}

std::string escaped(std::string_view plain) {
  std::string html;
  html.reserve(plain.size());
  while (!plain.empty()) {
    const Character character = first_character(plain);
    const std::string_view bytes = plain.substr(0, std::max<std::size_t>(1, character.bytes));
    if (character.bytes == 0 || hides_what_is_there(character.code)) {
      html += kReplacement;
    } else if (character.code == '&') {
      html += "&amp;";
    } else if (character.code == '<') {
      html += "&lt;";
    } else if (character.code == '>') {
      html += "&gt;";
    } else if (character.code == '"') {
      html += "&quot;";
    } else if (character.code == '\'') {
      html += "&#39;";
    } else {
      html += bytes;
    }
    plain.remove_prefix(bytes.size());
  }
  return html;
}

}  // namespace

/// Makes markup of names that this program has and values that are escaped.
struct ElementWriter {
  static Markup write(std::string_view name, const Attributes& attributes, const Markup& content) {
    std::string html("<");
    html += name;
    for (const Attribute& attribute : attributes) {
      html += ' ';
      html += attribute.name;
      html += "=\"";
      html += escaped(attribute.value);
      html += '"';
    }
    html += '>';
    if (std::ranges::find(kVoidElements, name) == kVoidElements.end()) {
      html += content.html();
      html += "</";
      html += name;
      html += '>';
    }
    return Markup(std::move(html));
  }
};

Markup text(std::string_view plain) { return Markup(escaped(plain)); }

Markup element(std::string_view name, const Attributes& attributes, const Markup& content) {
  return ElementWriter::write(name, attributes, content);
}

}  // namespace kvcache::report::html
