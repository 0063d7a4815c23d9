// chat_template.json, read and checked.
#include <fmt/format.h>

#include <array>

#include "base/throw_error.hpp"
#include "text/chat_pieces.hpp"
#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

constexpr std::string_view kFormat = "kvcache_chat_template";
constexpr std::size_t kFormatVersion = 1;
constexpr std::size_t kMaxVersion = 1U << 20U;
// What Python's and C++'s formatting of a time give the same text for.
constexpr std::string_view kTimeConversions = "aAbBdHIjmMpSUwWyY%";
constexpr std::size_t kLongestTimeFormat = 256;

std::vector<std::string_view> role_names() {
  return {role_name(Role::system), role_name(Role::user), role_name(Role::assistant)};
}

Role read_role(const JsonValue& value) {
  return value.is_null() ? Role::none : *role_of(value.text_of(role_names()));
}

Time read_time(const JsonValue& value) {
  std::string format = value.text();
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] == '%' &&
        (++i == format.size() || kTimeConversions.find(format[i]) == std::string_view::npos)) {
      value.refuse(fmt::format("must have only {} behind each %", kTimeConversions));
    }
  }
  if (format.size() > kLongestTimeFormat || format.find('\0') != std::string::npos) {
    value.refuse(fmt::format("must have at most {} bytes, none of them 0", kLongestTimeFormat));
  }
  return {std::move(format)};
}

std::u32string read_characters(const JsonValue& value) {
  const std::string text = value.text();
  std::u32string characters;
  for (std::size_t offset = 0; offset < text.size();) {
    const Character character = character_at(text, offset);
    characters += character.code;
    offset += character.length;
  }
  return characters;
}

ChatPiece read_piece(const JsonValue& entry) {
  ChatPiece piece{.text = {},
                  .trim_before = read_characters(entry.field("trim_before")),
                  .trim_after = read_characters(entry.field("trim_after"))};
  const JsonValue text = entry.field("text");
  for (const JsonValue& part : text.elements()) {
    if (part.is_text()) {
      piece.text.emplace_back(part.text());
    } else {
      piece.text.emplace_back(read_time(part.field("time")));
    }
  }
  return piece;
}

/// The places of an entry: for the last message and for others, where it does not say which.
std::vector<Place> read_places(const JsonValue& entry) {
  const Role before = read_role(entry.field("before"));
  const Role after = read_role(entry.field("after"));
  if (after == Role::none) {
    if (before == Role::none) {
      entry.refuse("must be before or behind a message");
    }
    return {{before, after, false, entry.field("generation").flag()}};
  }
  if (entry.has("last")) {
    return {{before, after, entry.field("last").flag(), false}};
  }
  return {{before, after, false, false}, {before, after, true, false}};
}

RefusedContents read_refused(const JsonValue& entry) {
  RefusedContents refused{
      .containing = {}, .empty = entry.field("empty").flag(), .blank = entry.field("blank").flag()};
  const JsonValue containing = entry.field("containing");
  for (const JsonValue& text : containing.elements()) {
    if (text.text().empty()) {
      text.refuse("must be a text that is not empty");
    }
    refused.containing.push_back(text.text());
  }
  return refused;
}

void check_format(const JsonValue& root, const std::string& name) {
  if (const JsonValue format = root.field("format"); format.text() != kFormat) {
    format.refuse(fmt::format("must be \"{}\"", kFormat));
  }
  if (const JsonValue version = root.field("format_version");
      version.size(0, kMaxVersion) != kFormatVersion) {
    version.refuse(fmt::format("must be {}, which this library reads", kFormatVersion));
  }
  if (!root.field("expressed").flag()) {
    throw_error(ErrorCode::chat_template_unsupported,
                "{}: the model's chat template cannot be expressed in pieces: {}; render it with "
                "Jinja2 and encode the text, or use another template",
                name, root.field("reason").text());
  }
}

}  // namespace

ChatPieces read_chat_pieces(std::string_view json, const std::string& name) {
  const JsonDocument document(
      json,
      {.name = name, .code = ErrorCode::chat_template_invalid, .advice = "export the model again"});
  const JsonValue root = document.root();
  check_format(root, name);
  ChatPieces pieces;
  pieces.extends = root.field("extends").flag();
  const JsonValue between = root.field("between");
  for (const JsonValue& entry : between.elements()) {
    const ChatPiece piece = read_piece(entry);
    for (const Place& place : read_places(entry)) {
      if (!pieces.between.emplace(place, piece).second) {
        entry.refuse("must be of another place than those before");
      }
    }
  }
  const JsonValue refused = root.field("refused");
  for (const JsonValue& entry : refused.elements()) {
    const JsonValue role = entry.field("role");
    if (!pieces.refused.emplace(*role_of(role.text_of(role_names())), read_refused(entry)).second) {
      role.refuse("must be another role than those before");
    }
  }
  return pieces;
}

}  // namespace kvcache::text
