// Messages of a chat as the text that a model was trained to go on from.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/tokenizer.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// What somebody says in a chat.
struct ChatMessage {
  std::string role;     // "system", "user" or "assistant"
  std::string content;  // in UTF-8
};

/// How messages become a text.
struct ChatOptions {
  /// Whether what begins the assistant's answer stands at the end.
  bool add_generation_prompt = true;
  /// For templates that tell the date; the system's clock where nothing is given. Local time.
  std::optional<std::chrono::system_clock::time_point> now;
};

/// A model's chat template, in the pieces that its exporter found: what stands between two
/// messages, by their roles. Texts are those that transformers renders of the same template with
/// Jinja2; a template that is not of that kind is refused when it is loaded (docs/CHAT.md).
///
/// Copies share their pieces. Threads may use one, and copies of it, at the same time.
class KVCACHE_EXPORT ChatTemplate {
 public:
  /// Reads the chat_template.json of a model directory, or such a file.
  /// @throws Error model_not_found (there is none), chat_template_invalid (naming the field),
  ///         chat_template_unsupported (saying why it cannot be expressed)
  static ChatTemplate load(const std::filesystem::path& path);

  /// Reads the text of a chat_template.json.
  /// @throws Error chat_template_invalid, chat_template_unsupported
  static ChatTemplate from_json(std::string_view text);

  /// The text of messages. Whoever writes a special token, such as "<|im_end|>", into a message
  /// speaks for others once this text is encoded: encode() keeps messages apart from the template.
  /// @throws Error empty_input (no message), invalid_argument (a role, an order of roles or a
  ///         content that the template does not take; a content that is not UTF-8)
  [[nodiscard]] std::string render(std::span<const ChatMessage> messages,
                                   const ChatOptions& options = {}) const;

  /// The tokens of that text, by the tokenizer of the same model, without those that it puts around
  /// a text, for the template has its own. In messages, special tokens and others that the template
  /// is written with are text like any other: nobody ends a turn, or begins the system's, by
  /// writing so.
  /// @throws Error as render() and Tokenizer::encode
  [[nodiscard]] std::vector<TokenId> encode(const Tokenizer& tokenizer,
                                            std::span<const ChatMessage> messages,
                                            const ChatOptions& options = {}) const;

  /// Whether the text of a conversation begins with that of its beginning with the generation
  /// prompt, so that a sequence that holds the one is only extended for the other. Templates that
  /// drop an earlier answer's reasoning, for instance, do not. It holds up to whitespace around an
  /// answer where the template takes that off.
  [[nodiscard]] bool extends() const noexcept;

  /// Those that messages may have.
  [[nodiscard]] std::vector<std::string> roles() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl);

  std::shared_ptr<const Impl> impl_;
};

}  // namespace kvcache
