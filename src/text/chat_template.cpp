// The public ChatTemplate.
#include "kvcache/chat_template.hpp"

#include <algorithm>

#include "base/error_boundary.hpp"
#include "base/input_file.hpp"
#include "base/throw_error.hpp"
#include "text/chat_pieces.hpp"
#include "text/tokenizer_impl.hpp"

namespace kvcache {
namespace {

constexpr Meaning kLoadTemplate{"the chat template was not loaded", ErrorCode::model_not_found,
                                ErrorCode::chat_template_invalid};
constexpr Meaning kRenderMessages{"the messages were not rendered", ErrorCode::run_failed,
                                  ErrorCode::run_failed};
constexpr std::size_t kLargestFile = std::size_t{16} << 20U;
constexpr std::string_view kWhitespace = " \t\n\r\v\f";

}  // namespace

struct ChatTemplate::Impl {
  text::ChatPieces pieces;

  [[nodiscard]] std::vector<text::ChatSpan> render(std::span<const ChatMessage> messages,
                                                   const ChatOptions& options) const {
    return text::render(pieces, messages, options.add_generation_prompt,
                        options.now.value_or(std::chrono::system_clock::now()));
  }

  /// Whether a token is one of those that the template is written with.
  [[nodiscard]] bool writes(std::string_view token) const {
    return std::ranges::any_of(pieces.between, [&](const auto& entry) {
      return std::ranges::any_of(entry.second.text, [&](const auto& part) {
        const auto* text = std::get_if<std::string>(&part);
        return text != nullptr && text->find(token) != std::string::npos;
      });
    });
  }

  /// Which added tokens are text in a message: special ones, and those that the template is written
  /// with, of which some tokenizers call none special. Whitespace is whitespace: Gemma has lines'
  /// ends among these.
  [[nodiscard]] std::vector<bool> guarded(const text::AddedTokens& tokens) const {
    std::vector<bool> found;
    for (const text::AddedToken& token : tokens.tokens()) {
      const bool blank = token.content.find_first_not_of(kWhitespace) == std::string::npos;
      found.push_back(token.special || (!blank && writes(token.content)));
    }
    return found;
  }
};

ChatTemplate::ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

ChatTemplate ChatTemplate::load(const std::filesystem::path& path) {
  try {
    const std::filesystem::path file =
        std::filesystem::is_directory(path) ? path / "chat_template.json" : path;
    if (!std::filesystem::exists(file)) {
      throw_error(ErrorCode::model_not_found,
                  "the chat template was not loaded: {} does not exist; export a model that has a "
                  "chat template, or give the right path",
                  file.string());
    }
    return ChatTemplate(std::make_shared<const Impl>(
        Impl{text::read_chat_pieces(read_file(file, kLargestFile), file.string())}));
  } catch (...) {
    rethrow_system_as_error(kLoadTemplate);
  }
}

ChatTemplate ChatTemplate::from_json(std::string_view text) {
  try {
    return ChatTemplate(
        std::make_shared<const Impl>(Impl{text::read_chat_pieces(text, "the JSON")}));
  } catch (...) {
    rethrow_system_as_error(kLoadTemplate);
  }
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 const ChatOptions& options) const {
  try {
    std::string text;
    for (const text::ChatSpan& span : impl_->render(messages, options)) {
      text += span.text;
    }
    return text;
  } catch (...) {
    rethrow_system_as_error(kRenderMessages);
  }
}

std::vector<TokenId> ChatTemplate::encode(const Tokenizer& tokenizer,
                                          std::span<const ChatMessage> messages,
                                          const ChatOptions& options) const {
  try {
    std::string text;
    std::vector<text::TextRange> contents;
    for (const text::ChatSpan& span : impl_->render(messages, options)) {
      if (span.is_content && !span.text.empty()) {
        contents.push_back({text.size(), text.size() + span.text.size()});
      }
      text += span.text;
    }
    const text::Pipeline& pipeline = tokenizer.impl_->pipeline;
    const text::ForeignText foreign{contents, impl_->guarded(pipeline.added_tokens)};
    const text::BorrowedWordCache cache(tokenizer.impl_->caches);
    return text::encode(
        pipeline, text,
        {.add_special_tokens = false, .special_tokens_as_text = false, .foreign = &foreign},
        *cache);
  } catch (...) {
    rethrow_system_as_error(kRenderMessages);
  }
}

bool ChatTemplate::extends() const noexcept { return impl_->pieces.extends; }

std::vector<std::string> ChatTemplate::roles() const {
  std::vector<std::string> found;
  for (const text::Role role : {text::Role::system, text::Role::user, text::Role::assistant}) {
    if (std::ranges::any_of(impl_->pieces.between,
                            [&](const auto& entry) { return entry.first.after == role; })) {
      found.emplace_back(text::role_name(role));
    }
  }
  return found;
}

}  // namespace kvcache
