#include "decoding/token_bytes.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error_boundary.hpp"
#include "base/throw_error.hpp"

namespace kvcache {
namespace {

constexpr Meaning kTokenBytes{"the tokens' bytes were not found", ErrorCode::run_failed,
                              ErrorCode::run_failed};
constexpr std::size_t kMostTokens = std::size_t{1} << 22U;
constexpr std::size_t kMostTokenBytes = std::size_t{1} << 30U;
constexpr std::size_t kBytes = 256;

void check_vocab_size(std::size_t vocab_size) {
  if (vocab_size == 0 || vocab_size > kMostTokens) {
    throw_error(ErrorCode::invalid_argument,
                "a vocabulary of {} tokens was given to a constraint, must be of 1 to {}",
                vocab_size, kMostTokens);
  }
}

void check_token_bytes(const std::vector<std::string>& bytes) {
  check_vocab_size(bytes.size());
  std::size_t total = 0;
  for (const std::string& token : bytes) {
    total += token.size();
  }
  if (total > kMostTokenBytes) {
    throw_error(ErrorCode::invalid_argument,
                "the tokens given to a constraint have {} bytes together, must have at most {}",
                total, kMostTokenBytes);
  }
}

std::vector<std::string> bytes_of(const Tokenizer& tokenizer, std::size_t vocab_size,
                                  std::span<const TokenId> stop_tokens) {
  check_vocab_size(vocab_size);
  std::vector<std::string> bytes(vocab_size);
  for (std::size_t id = 0; id < std::min(vocab_size, tokenizer.vocab_size()); ++id) {
    bytes[id] = tokenizer.bytes(static_cast<TokenId>(id)).value_or(std::string());
  }
  for (const TokenId token : stop_tokens) {
    if (token < 0 || token >= static_cast<TokenId>(vocab_size)) {
      throw_error(ErrorCode::token_out_of_range,
                  "the stop token {} of a constraint lies outside the vocabulary, must be in [0, "
                  "{})",
                  token, vocab_size);
    }
    bytes[static_cast<std::size_t>(token)].clear();
  }
  return bytes;
}

std::vector<std::string> not_empty_of(const std::vector<std::string>& bytes) {
  std::vector<std::string> spellings;
  std::ranges::copy_if(bytes, std::back_inserter(spellings),
                       [](const std::string& token) { return !token.empty(); });
  return spellings;
}

}  // namespace

TokenBytes::Table::Table(std::vector<std::string> bytes)
    : of_token(std::move(bytes)), spellings(not_empty_of(of_token)), is_text(of_token.size()) {
  for (std::size_t id = 0; id < of_token.size(); ++id) {
    if (!of_token[id].empty()) {
      tokens_.push_back(static_cast<TokenId>(id));
      is_text.allow(tokens_.back());
    }
  }
  const auto spelling_of = [this](TokenId token) -> const std::string& {
    return of_token[static_cast<std::size_t>(token)];
  };
  std::ranges::stable_sort(tokens_, {}, spelling_of);
  std::size_t single_bytes = 0;
  for (const std::string& spelling : spellings.items()) {
    single_bytes += spelling.size() == 1 ? 1 : 0;
  }
  every_byte = single_bytes == kBytes;
  first_token_.reserve(spellings.items().size() + 1);
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (i == 0 || spelling_of(tokens_[i]) != spelling_of(tokens_[i - 1])) {
      first_token_.push_back(i);
    }
  }
  first_token_.push_back(tokens_.size());
}

TokenBytes::TokenBytes(const Tokenizer& tokenizer, std::size_t vocab_size,
                       std::span<const TokenId> stop_tokens) try
    : TokenBytes(bytes_of(tokenizer, vocab_size, stop_tokens)) {
} catch (...) {
  rethrow_system_as_error(kTokenBytes);
}

TokenBytes::TokenBytes(std::vector<std::string> bytes) try {
  check_token_bytes(bytes);
  table_ = std::make_shared<const Table>(std::move(bytes));
} catch (...) {
  rethrow_system_as_error(kTokenBytes);
}

std::size_t TokenBytes::vocab_size() const noexcept { return table_->of_token.size(); }

std::string_view TokenBytes::of(TokenId token) const {
  if (token < 0 || token >= static_cast<TokenId>(vocab_size())) {
    throw_error(ErrorCode::token_out_of_range,
                "the bytes of token {} were asked for, must be in [0, {})", token, vocab_size());
  }
  return table_->of_token[static_cast<std::size_t>(token)];
}

}  // namespace kvcache
