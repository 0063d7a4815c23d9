#include "text/token_bytes.hpp"

#include <optional>
#include <utility>

#include "base/throw_error.hpp"
#include "text/byte_alphabet.hpp"
#include "text/decoder_stages.hpp"

namespace kvcache::text {
namespace {

/// A token on its way through the steps.
class TokenInText {
 public:
  explicit TokenInText(std::string_view token) : bytes_(token) {}

  void operator()(const ReplaceDecoder& step) {
    expect_alone("Replace");
    bytes_ = step.replace->apply(bytes_);
  }
  void operator()(ByteFallbackDecoder /*step*/) {
    expect_alone("ByteFallback");
    if (const auto byte = byte_of_token(bytes_)) {
      bytes_ = static_cast<char>(*byte);
    }
  }
  void operator()(FuseDecoder /*step*/) { fused_ = true; }
  void operator()(const StripDecoder& step) {
    if (step.stop > 0) {
      expect_alone("Strip at the end");
    }
    if (fused_) {  // strips the beginning of all, which is not here
      return;
    }
    for (std::size_t left = step.start; left > 0 && bytes_.starts_with(step.content); --left) {
      bytes_.erase(0, step.content.size());
    }
    for (std::size_t left = step.stop; left > 0 && bytes_.ends_with(step.content); --left) {
      bytes_.erase(bytes_.size() - step.content.size());
    }
  }
  void operator()(const MetaspaceDecoder& step) {
    std::string replaced;
    std::string_view rest = bytes_;
    while (!rest.empty()) {
      const bool is_space = rest.starts_with(step.replacement);
      replaced += is_space ? ' ' : rest.front();
      rest.remove_prefix(is_space ? step.replacement.size() : 1);
    }
    bytes_ = std::move(replaced);
  }
  void operator()(ByteLevelDecoder /*step*/) {
    expect_alone("ByteLevel");
    if (auto bytes = from_byte_alphabet(bytes_)) {
      bytes_ = std::move(*bytes);
    }
  }
  void operator()(JoinDecoder /*step*/) { bytes_.insert(0, 1, ' '); }

  [[nodiscard]] std::string take() noexcept { return std::move(bytes_); }

 private:
  void expect_alone(std::string_view step) const {
    if (fused_) {
      throw_error(ErrorCode::tokenizer_invalid,
                  "a token has no bytes of its own: the tokenizer's decoder has {} behind Fuse, so "
                  "that what a token becomes depends on the others; give a tokenizer.json whose "
                  "decoder works token by token",
                  step);
    }
  }

  std::string bytes_;
  bool fused_ = false;
};

}  // namespace

std::string bytes_within_a_text(const std::vector<DecoderStep>& steps, std::string_view token) {
  TokenInText bytes(token);
  for (const DecoderStep& step : steps) {
    std::visit(bytes, step);
  }
  return bytes.take();
}

}  // namespace kvcache::text
