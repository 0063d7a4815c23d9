// The stages that make characters of bytes.
#include "text/byte_alphabet.hpp"
#include "text/decoder_stages.hpp"
#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

/// Byte-level BPE: all tokens are bytes of one text. What is no UTF-8 becomes U+FFFD; what may yet
/// become a character waits.
class ByteLevelStage : public WholeTokenStage {
 public:
  using WholeTokenStage::WholeTokenStage;

 protected:
  void take(std::string_view token) override {
    const auto bytes = from_byte_alphabet(token);  // a token with other characters is as it is
    waiting_ += bytes ? *bytes : token;
    emit();
  }

  void end() override {
    if (!waiting_.empty()) {  // an incomplete character is one error
      pass({kReplacement, begins_, false});
      waiting_.clear();
    }
  }

 private:
  void emit() {
    std::string text;
    std::size_t done = 0;
    while (done < waiting_.size()) {
      const Sequence sequence = first_sequence(std::string_view(waiting_).substr(done));
      if (sequence.kind == Sequence::Kind::incomplete) {
        break;
      }
      text += sequence.kind == Sequence::Kind::character
                  ? std::string_view(waiting_).substr(done, sequence.length)
                  : kReplacement;
      done += sequence.length;
    }
    waiting_.erase(0, done);
    if (!text.empty()) {
      pass({text, begins_, false});
      begins_ = false;
    }
  }

  std::string waiting_;
  bool begins_ = true;
};

/// A run of byte tokens is text where all of it is UTF-8, else U+FFFD for each of them: it waits
/// until it ends.
class ByteFallbackStage : public WholeTokenStage {
 public:
  using WholeTokenStage::WholeTokenStage;

 protected:
  void take(std::string_view token) override {
    if (const auto byte = byte_of_token(token)) {
      run_ += static_cast<char>(*byte);
      return;
    }
    end();
    pass_token(token);
  }

  void end() override {
    if (run_.empty()) {
      return;
    }
    if (first_invalid_byte(run_)) {
      for (std::size_t byte = 0; byte < run_.size(); ++byte) {
        pass_token(kReplacement);
      }
    } else {
      pass_token(run_);
    }
    run_.clear();
  }

 private:
  std::string run_;
};

}  // namespace

std::optional<std::uint8_t> byte_of_token(std::string_view token) noexcept {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  constexpr std::size_t kLength = 6;
  if (token.size() != kLength || !token.starts_with("<0x") || !token.ends_with('>')) {
    return std::nullopt;
  }
  const int high = token[3] == '+' ? 0 : digit(token[3]);
  const int low = digit(token[4]);
  if (high < 0 || low < 0) {
    return std::nullopt;
  }
  return static_cast<std::uint8_t>(high << 4 | low);
}

std::unique_ptr<DecoderStage> make_byte_fallback(std::unique_ptr<DecoderStage> next) {
  return std::make_unique<ByteFallbackStage>(std::move(next));
}

std::unique_ptr<DecoderStage> make_byte_level(std::unique_ptr<DecoderStage> next) {
  return std::make_unique<ByteLevelStage>(std::move(next));
}

}  // namespace kvcache::text
