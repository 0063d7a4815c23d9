// Messages and pieces put together; python/kvcache_export/chat/pieces.py is the same in Python.
#include "text/chat_pieces.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <iomanip>
#include <locale>
#include <sstream>

#include "base/throw_error.hpp"
#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

constexpr std::array<std::string_view, 3> kRoles{"system", "user", "assistant"};

/// What Python's str.isspace() says yes to.
bool is_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_blank(std::string_view text) {
  while (!text.empty()) {
    const Character character = character_at(text, 0);
    if (!is_space(character.code)) {
      return false;
    }
    text.remove_prefix(character.length);
  }
  return true;
}

std::string_view trimmed(std::string_view text, const std::u32string& begin,
                         const std::u32string& end) {
  const auto is_in = [](const std::u32string& characters, char32_t code) {
    return characters.find(code) != std::u32string::npos;
  };
  while (!text.empty() && is_in(begin, character_at(text, 0).code)) {
    text.remove_prefix(character_at(text, 0).length);
  }
  while (!text.empty() && is_in(end, character_before(text, text.size()).code)) {
    text.remove_suffix(character_before(text, text.size()).length);
  }
  return text;
}

std::string written(const Time& time, std::chrono::system_clock::time_point now) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm local{};
  if (::localtime_r(&seconds, &local) == nullptr) {
    throw_error(ErrorCode::invalid_argument,
                "the messages were not rendered: the time is beyond what the system's calendar "
                "has, {} s since 1970; give another one in ChatOptions::now",
                seconds);
  }
  std::ostringstream stream;
  stream.imbue(std::locale::classic());
  stream << std::put_time(&local, time.format.c_str());
  return stream.str();
}

std::string written(const ChatPiece& piece, std::chrono::system_clock::time_point now) {
  std::string text;
  for (const auto& part : piece.text) {
    const auto* time = std::get_if<Time>(&part);
    text += time != nullptr ? written(*time, now) : std::get<std::string>(part);
  }
  return text;
}

[[noreturn]] void refuse(std::size_t index, std::string_view found, std::string_view rule) {
  throw_error(ErrorCode::invalid_argument, "the messages were not rendered: message {} {}; {}",
              index, found, rule);
}

Role checked_role(const ChatPieces& pieces, const ChatMessage& message, std::size_t index) {
  const auto role = role_of(message.role);
  const auto is_taken = [&](const auto& entry) { return entry.first.after == *role; };
  if (!role || std::ranges::none_of(pieces.between, is_taken)) {
    std::vector<std::string_view> known;
    for (const std::string_view name : kRoles) {
      const Role each = *role_of(name);
      if (std::ranges::any_of(pieces.between,
                              [&](const auto& entry) { return entry.first.after == each; })) {
        known.push_back(name);
      }
    }
    refuse(index, fmt::format("has the role {}", in_quotes(message.role)),
           fmt::format("this model's chat template takes {}", fmt::join(known, ", ")));
  }
  return *role;
}

void check_content(const ChatPieces& pieces, Role role, const std::string& content,
                   std::size_t index) {
  if (const auto invalid = first_invalid_byte(content)) {
    refuse(index,
           fmt::format("has 0x{:02X} at byte {} of {}, which is no UTF-8 there",
                       static_cast<unsigned char>(content[*invalid]), *invalid, content.size()),
           "convert the text, or replace such bytes by U+FFFD");
  }
  const auto refused = pieces.refused.find(role);
  if (refused == pieces.refused.end()) {
    return;
  }
  const auto& [containing, empty, blank] = refused->second;
  const auto held = std::ranges::find_if(
      containing, [&](const std::string& text) { return content.find(text) != std::string::npos; });
  if (held != containing.end()) {
    refuse(index, fmt::format("holds {}", in_quotes(*held)),
           fmt::format("this model's chat template does something of its own with such {} messages,"
                       " which its pieces cannot express: take it out, or render with Jinja2",
                       role_name(role)));
  }
  if ((empty && content.empty()) || (blank && is_blank(content))) {
    refuse(index, content.empty() ? "is empty" : "is nothing but whitespace",
           fmt::format("this model's chat template does something of its own with such {} messages:"
                       " leave it out, or say something in it",
                       role_name(role)));
  }
}

const ChatPiece& piece_at(const ChatPieces& pieces, const Place& place, std::size_t index) {
  const auto found = pieces.between.find(place);
  if (found != pieces.between.end()) {
    return found->second;
  }
  constexpr std::string_view kRule =
      "this model's chat template takes no such order of messages; most take an optional system "
      "message, then user and assistant in turns";
  if (place.after == Role::none) {
    refuse(index - 1,
           fmt::format("is of the role \"{}\" and the last, {} a generation prompt behind it",
                       role_name(place.before), place.generation ? "with" : "without"),
           kRule);
  }
  refuse(index,
         place.before == Role::none
             ? fmt::format("is of the role \"{}\" and the first", role_name(place.after))
             : fmt::format("is of the role \"{}\" behind one of the role \"{}\"",
                           role_name(place.after), role_name(place.before)),
         kRule);
}

}  // namespace

std::string_view role_name(Role role) noexcept {
  return role == Role::none ? "none" : kRoles.at(static_cast<std::size_t>(role));
}

std::optional<Role> role_of(std::string_view name) noexcept {
  const auto* const found = std::ranges::find(kRoles, name);
  return found == kRoles.end() ? std::nullopt
                               : std::optional(static_cast<Role>(found - kRoles.begin()));
}

std::vector<ChatSpan> render(const ChatPieces& pieces, std::span<const ChatMessage> messages,
                             bool generation, std::chrono::system_clock::time_point now) {
  if (messages.empty()) {
    throw_error(ErrorCode::empty_input,
                "the messages were not rendered: there are none; give at least one");
  }
  std::vector<Place> places;
  Role before = Role::none;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Role after = checked_role(pieces, messages[i], i);
    check_content(pieces, after, messages[i].content, i);
    places.push_back({before, after, i + 1 == messages.size(), false});
    before = after;
  }
  places.push_back({before, Role::none, false, generation});

  std::vector<ChatSpan> spans;
  const ChatPiece* piece = &piece_at(pieces, places[0], 0);
  spans.push_back({written(*piece, now), false});
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const ChatPiece* next = &piece_at(pieces, places[i + 1], i + 1);
    const std::string_view content =
        trimmed(messages[i].content, piece->trim_after, next->trim_before);
    spans.push_back({std::string(content), true});
    spans.push_back({written(*next, now), false});
    piece = next;
  }
  return spans;
}

}  // namespace kvcache::text
