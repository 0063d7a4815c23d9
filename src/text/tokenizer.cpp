// The public Tokenizer and TextStream.
#include "kvcache/tokenizer.hpp"

#include "base/error_boundary.hpp"
#include "base/throw_error.hpp"
#include "text/load.hpp"
#include "text/read_tokenizer.hpp"
#include "text/token_bytes.hpp"
#include "text/tokenizer_impl.hpp"
#include "text/utf8.hpp"

namespace kvcache {
namespace {

constexpr Meaning kLoadTokenizer{"the tokenizer was not loaded", ErrorCode::model_not_found,
                                 ErrorCode::tokenizer_invalid};
constexpr Meaning kEncodeText{"the text was not encoded", ErrorCode::run_failed,
                              ErrorCode::run_failed};
constexpr Meaning kDecodeTokens{"the tokens were not decoded", ErrorCode::run_failed,
                                ErrorCode::run_failed};

/// What decoders are given of a token; null: nothing.
/// @throws Error token_out_of_range
const text::DecodedToken* shown(const text::TokenTable& tokens, TokenId id,
                                const DecodeOptions& options) {
  if (options.skip_unknown_ids && !tokens.has(id)) {
    return nullptr;
  }
  const text::DecodedToken& token = tokens.at(id);
  return options.skip_special_tokens && token.special ? nullptr : &token;
}

}  // namespace

struct TextStream::State {
  State(std::shared_ptr<const Tokenizer::Impl> tokenizer, const DecodeOptions& how)
      : impl(std::move(tokenizer)), options(how), stages(new_stages()) {}

  std::unique_ptr<text::DecoderStage> new_stages() {
    return text::make_stages(impl->pipeline.decoder, out);
  }

  std::shared_ptr<const Tokenizer::Impl> impl;
  DecodeOptions options;
  std::string out;  // where the last stage writes
  std::unique_ptr<text::DecoderStage> stages;
};

TextStream::TextStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
TextStream::TextStream(TextStream&&) noexcept = default;
TextStream& TextStream::operator=(TextStream&&) noexcept = default;
TextStream::~TextStream() = default;

std::string TextStream::push(TokenId token) {
  try {
    const text::DecodedToken* const decoded = shown(state_->impl->tokens, token, state_->options);
    state_->out.clear();
    if (decoded != nullptr) {
      state_->stages->push({decoded->text, true, true});
    }
    return std::move(state_->out);
  } catch (...) {
    rethrow_system_as_error(kDecodeTokens);
  }
}

std::string TextStream::finish() {
  try {
    state_->out.clear();
    state_->stages->finish();
    state_->stages = state_->new_stages();
    return std::move(state_->out);
  } catch (...) {
    rethrow_system_as_error(kDecodeTokens);
  }
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  try {
    return Tokenizer(std::make_shared<const Impl>(text::load_tokenizer(path)));
  } catch (...) {
    rethrow_system_as_error(kLoadTokenizer);
  }
}

Tokenizer Tokenizer::from_json(std::string_view text) {
  try {
    return Tokenizer(std::make_shared<const Impl>(text::read_tokenizer_json(text, "the JSON")));
  } catch (...) {
    rethrow_system_as_error(kLoadTokenizer);
  }
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  try {
    if (const auto invalid = text::first_invalid_byte(text)) {
      throw_error(ErrorCode::invalid_argument,
                  "the text was not encoded: byte {} of {} is 0x{:02X}, which is no UTF-8 there; "
                  "convert the text, or replace such bytes by U+FFFD",
                  *invalid, text.size(), static_cast<unsigned char>(text[*invalid]));
    }
    const text::BorrowedWordCache cache(impl_->caches);
    return text::encode(impl_->pipeline, text,
                        {.add_special_tokens = options.add_special_tokens,
                         .special_tokens_as_text = options.special_tokens_as_text},
                        *cache);
  } catch (...) {
    rethrow_system_as_error(kEncodeText);
  }
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, const DecodeOptions& options) const {
  try {
    std::string text;
    const auto stages = text::make_stages(impl_->pipeline.decoder, text);
    for (const TokenId token : tokens) {
      if (const text::DecodedToken* const decoded = shown(impl_->tokens, token, options)) {
        stages->push({decoded->text, true, true});
      }
    }
    stages->finish();
    return text;
  } catch (...) {
    rethrow_system_as_error(kDecodeTokens);
  }
}

TextStream Tokenizer::new_text(const DecodeOptions& options) const {
  try {
    return TextStream(std::make_unique<TextStream::State>(impl_, options));
  } catch (...) {
    rethrow_system_as_error(kDecodeTokens);
  }
}

std::optional<TokenId> Tokenizer::token_id(std::string_view token) const {
  return impl_->tokens.find(token);
}

std::optional<std::string> Tokenizer::token(TokenId id) const {
  const auto text = impl_->tokens.text_of(id);
  return text ? std::optional<std::string>(*text) : std::nullopt;
}

std::optional<std::string> Tokenizer::bytes(TokenId id) const {
  try {
    if (!impl_->tokens.text_of(id)) {
      return std::nullopt;
    }
    const text::DecodedToken& token = impl_->tokens.at(id);
    return token.special ? std::string()
                         : text::bytes_within_a_text(impl_->pipeline.decoder, token.text);
  } catch (...) {
    rethrow_system_as_error(kDecodeTokens);
  }
}

bool Tokenizer::is_special(TokenId id) const noexcept { return impl_->tokens.is_special(id); }

std::size_t Tokenizer::vocab_size() const noexcept { return impl_->tokens.end_id(); }

}  // namespace kvcache
