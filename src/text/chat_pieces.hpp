// A chat template in pieces: what stands between two messages, by their roles.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "base/checked_json.hpp"
#include "kvcache/chat_template.hpp"

namespace kvcache::text {

/// In the order of their names below; `none` is before the first and behind the last message.
enum class Role { system, user, assistant, none };

std::string_view role_name(Role role) noexcept;
std::optional<Role> role_of(std::string_view name) noexcept;

/// Between which messages something stands.
struct Place {
  Role before = Role::none;
  Role after = Role::none;
  bool last = false;        // `after` is the last message
  bool generation = false;  // at the end: what begins an answer stands there

  friend bool operator<(const Place& one, const Place& other) {
    return std::tie(one.before, one.after, one.last, one.generation) <
           std::tie(other.before, other.after, other.last, other.generation);
  }
};

/// A part of a text that tells the time, as strftime formats it.
struct Time {
  std::string format;
};

struct ChatPiece {
  std::vector<std::variant<std::string, Time>> text;
  std::u32string trim_before;  // characters that are taken off the end of the content before it
  std::u32string trim_after;   // and off the beginning of the one behind it
};

/// Contents of a role that the template treats in another way than all others.
struct RefusedContents {
  std::vector<std::string> containing;
  bool empty = false;
  bool blank = false;  // nothing but whitespace
};

struct ChatPieces {
  std::map<Place, ChatPiece> between;
  std::map<Role, RefusedContents> refused;
  bool extends = false;
};

/// What a rendered text is made of.
struct ChatSpan {
  std::string text;
  bool is_content;  // of a message, else the template's
};

/// The pieces of a chat_template.json; `name` is the file's, for messages.
/// @throws Error chat_template_invalid, chat_template_unsupported
ChatPieces read_chat_pieces(std::string_view json, const std::string& name);

/// @throws Error empty_input, invalid_argument
std::vector<ChatSpan> render(const ChatPieces& pieces, std::span<const ChatMessage> messages,
                             bool generation, std::chrono::system_clock::time_point now);

}  // namespace kvcache::text
